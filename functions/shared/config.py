"""Settings read once, from the environment template.yaml gives each function."""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import ConfigurationError


class Settings:
    """Typed reading of environment variables; every fault is a `ConfigurationError` that names the variable."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        value = self._environment.get(name, "").strip()
        if not value:
            raise ConfigurationError(f"the environment variable {name} is not set or blank; template.yaml sets it")
        return value

    def whole_number(self, name: str) -> int:
        value = self.text(name)
        try:
            return int(value)
        except ValueError:
            raise ConfigurationError(f"the environment variable {name} must be a whole number") from None

    def milliseconds_as_seconds(self, name: str) -> float:
        return self.whole_number(name) / 1000

    def names(self, name: str) -> tuple[str, ...]:
        """A comma-separated list, in its order, without blanks; an unset variable is an empty list."""
        return tuple(part.strip() for part in self._environment.get(name, "").split(",") if part.strip())
