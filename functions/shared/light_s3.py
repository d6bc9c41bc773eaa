"""Addresses of objects in S3 that are given away. They are made here, with nobody asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from shared.light_aws import domain_of

if TYPE_CHECKING:
    from boto3 import Session

_METHODS = {"get_object": "GET", "put_object": "PUT"}


class LightS3Signer:
    """Stands in for boto3's client where addresses are signed and nothing else done.

    They name the bucket's own region: one that names S3 as a whole sends callers of a new bucket on to its region, and
    carries a signature that newer regions do not take. `url` is another address than AWS's own, under which a bucket is
    a folder; empty for AWS's.
    """

    def __init__(self, session: Session, url: str) -> None:
        self._url, self._region = url, session.region_name
        self._credentials: Any = session.get_credentials()

    def generate_presigned_url(self, operation: str, **request: Any) -> str:
        """As of boto3: `Params` has `Bucket` and `Key`, `ExpiresIn` is seconds."""
        bucket, key = request["Params"]["Bucket"], quote(request["Params"]["Key"], safe="/")
        place = f"{self._url}/{bucket}" if self._url else f"https://{bucket}.s3.{domain_of(self._region)}"
        signed = AWSRequest(_METHODS[operation], f"{place}/{key}")
        S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=request["ExpiresIn"]).add_auth(signed)
        return str(signed.url)
