# `make` alone prints the targets. A first run makes .venv; nothing else is needed than Python, make and git.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# What is written behind a target, TAG='$5 off', is taken as it is: make would expand it, and run a $(shell ...) in it.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

# The environment's own commands come first: `sam build` calls uv, tests call sam.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON
export SAM_CLI_TELEMETRY := 0
unexport PYTHONDONTWRITEBYTECODE  # bytecode of what is used is written once, on first use
unexport VIRTUAL_ENV

PY := .venv/bin/python
CHECKED := functions infra tests
# A file's tests share what they start, and many of them wait; the slow folders come first, so that no worker ends late.
PYTEST = $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder
MEASURED = tests/properties tests/faults tests/integration tests/unit
RUNNING = tests/leaks tests/fuzz tests/end_to_end  # the bundle's processes, in which nothing can be measured

.PHONY: help demo run test check types looked-at format bench load fuzz build deploy destroy costs \
	requirements sam-demo clean environment npm-packages import prefetch status redrive failures \
	triggers resend schedule schedules unschedule caller callers member-hash render lint-liquid

help: ## print this list
	@sed -n 's/^\([a-z%<>-]*\):.*## \(.*\)/\1|\2/p' Makefile | sed "s/%/FUNCTION/" | \
	while IFS='|' read -r target text; do printf '  make %-22s %s\n' "$$target" "$$text"; done

demo: environment ## every flow once on this machine, against simulated vendors
	@$(PY) -m infra.local demo

run: environment ## keep the bundle running on this machine
	@$(PY) -m infra.local run

sam-demo: environment ## the demo's calls through sam local (needs Docker)
	@$(PY) -m infra.local sam-demo

# What these are told (FILE=..., QUEUE=...) reaches them as environment variables, as make does with its arguments.
import: environment ## tags from a file: FILE=members.csv TAG=gold TTL=30d
	@$(PY) -m infra.commands.tag_import

prefetch: environment ## wallets before a send: SEGMENT=... CULTURE=ko FRESH=14400, or FILE=ids.txt
	@$(PY) -m infra.commands.wallet_prefetch

failures: environment ## the rows of an import that were not sent: IMPORT=webhook-2026-11-22
	@PYTHONPATH=functions $(PY) -m infra.commands.failures

render: environment ## a message as Braze sends it: TEMPLATE=docs/snippets/wallet.liquid MEMBER=... LANGUAGE=ko
	@PYTHONPATH=functions:. $(PY) -m infra.liquid render

lint-liquid: environment ## mistakes in a template: FILE="docs/snippets/*.liquid"
	@PYTHONPATH=functions:. $(PY) -m infra.liquid lint

schedule: environment ## a segment becomes tags regularly: NAME=... SEGMENT=... TAG=gold CRON="cron(0 4 * * ? *)"
	@PYTHONPATH=functions $(PY) -m infra.commands.schedules put

schedules: environment ## the schedules there are
	@PYTHONPATH=functions $(PY) -m infra.commands.schedules list

unschedule: environment ## no longer: NAME=...
	@PYTHONPATH=functions $(PY) -m infra.commands.schedules delete

caller: environment ## who may call, and its key: NAME=... ALLOWS="POST /tags, GET /wallet/*"; see docs/security.md
	@PYTHONPATH=functions $(PY) -m infra.commands.callers put

callers: environment ## the callers there are
	@PYTHONPATH=functions $(PY) -m infra.commands.callers list

member-hash: environment ## what a member is called in the logs: MEMBER=...
	@PYTHONPATH=functions $(PY) -m infra.commands.member_hash

status: environment ## what waits, was given up, is unknown or too old, and whether a person is needed; JSON=yes
	@PYTHONPATH=functions $(PY) -m infra.commands.status

triggers: environment ## triggers and events whose outcome is unknown
	@PYTHONPATH=functions $(PY) -m infra.commands.triggers list

resend: environment ## send one of those again, TRIGGER=trg-..., or take it off the list, DROP=trg-...
	@PYTHONPATH=functions $(PY) -m infra.commands.triggers resend

redrive: environment ## try again what was given up: QUEUE=tag, bulk-tag, prefetch, import, trigger, urgent-trigger or track; DRY=yes counts; failed-events are listed
	@$(PY) -m infra.commands.redrive

invoke-%: environment ## one function with its example event, as in make invoke-wallet
	@$(PY) -m infra.local invoke $*

test: npm-packages ## all tests; ARGS="-k wallet" selects
	@$(PYTEST) $(ARGS)

check: npm-packages ## format, lint, types, template, packages, credentials, coverage, all tests that take no minutes
	@$(MAKE) --no-print-directory -j 2 types looked-at
	$(PYTEST) --cov --cov-report=term -m "not thorough" $(MEASURED) $(ARGS)
	$(PYTEST) $(RUNNING) $(ARGS)

# Half of `check`'s looking is mypy's, and it keeps one core busy: the rest is done meanwhile on another.
types: environment
	$(PY) -m mypy

looked-at: environment
	$(PY) -m ruff format --check $(CHECKED)
	$(PY) -m ruff check $(CHECKED)
	.venv/bin/cfn-lint
	AWS_DEFAULT_REGION=us-east-1 .venv/bin/sam validate --lint
	$(PY) -m infra.release.audit
	$(PY) -m infra.release.leaked

format: environment ## rewrite the code in the house format, fix what can be fixed
	@$(PY) -m ruff check --fix $(CHECKED) || :
	@$(PY) -m ruff format $(CHECKED)

bench: environment ## measure cold start, throughput and latency
	@PYTHONPATH=functions $(PY) -m tests.bench

load: environment ## everything at once for MINUTES=10: nothing lost, nothing twice, memory flat
	@PYTHONPATH=functions $(PY) -m tests.bench load

fuzz: environment ## requests made out of the API descriptions: EXAMPLES=200 of each kind; SEED=... repeats a run
	@$(PY) -m tests.fuzz

build: environment ## the artefact to deploy, in .aws-sam/build; ARCH=arm64 or x86_64
	@$(PY) -m infra.build $(if $(ARCH),--arch "$$ARCH")

deploy: environment ## to AWS, asking what it must know the first time; ASK=yes asks again (docs/deploy.md)
	@$(PY) -m infra.release.deploy prepare
	@$(PY) -m infra.build $(if $(ARCH),--arch "$$ARCH")
	@$(PY) -m infra.release.deploy deploy

destroy: environment ## take the stack down and keep its data; DATA=delete takes that as well
	@$(PY) -m infra.release.destroy

costs: environment ## what a million operations cost; WRITE=yes puts it into docs/costs.md
	@$(PY) -m infra.release.costs

# Empty unless UPGRADE is a yes; what is neither yes nor no ends make.
UPGRADES = $(if $(filter-out yes true 1 no false 0,$(UPGRADE)),$(error UPGRADE=$(UPGRADE) is neither yes nor no. Nothing was done),$(filter yes true 1,$(UPGRADE)))
COMPILE = ../.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make requirements" $(if $(UPGRADES),--upgrade) requirements.in --output-file requirements.txt

requirements: environment ## pin requirements.in again; UPGRADE=1 to the newest versions
	@cd functions && $(COMPILE)
	@cd infra && $(COMPILE)
	@sh infra/bootstrap

clean: ## remove everything that is not in git, except your deployment's answers
	@rm -rf .venv .venv-lock .aws-sam .bench .local .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	@find functions infra tests -name __pycache__ -prune -exec rm -rf {} +

environment:
	@sh infra/bootstrap

# For tests alone: where npm cannot be reached, all else works.
npm-packages: environment
	@$(PY) -m infra.npm
