"""Why a cloud that should be there does not take us: gRPC says `unavailable` for every failed
handshake, whatever it failed for.
"""

from __future__ import annotations

from cryptography import x509

from driftline_shared.errors import LinkError, Reason, explain
from driftline_shared.rpc.errors import asked
from driftline_shared.rpc.trust import NoTlsError, roots_at
from driftline_shared.trust.certificates import fingerprint, read_chain, trouble_with
from driftline_shared.trust.credentials import Credentials

_LOOK_S = 3.0


def told(address: str, error: LinkError, credentials: Credentials | None) -> LinkError:
    """`error` of a call to `address` by who shows `credentials`, with its cause where it is one of
    certificates.
    """
    if error.reason is not Reason.UNREACHABLE:
        return asked(address, error)
    found = _why(address, credentials)
    return asked(address, error if found is None else found)


def _why(address: str, credentials: Credentials | None) -> LinkError | None:
    try:
        roots = roots_at(address, timeout_s=_LOOK_S)
    except NoTlsError:
        if credentials is None:
            return None
        return LinkError(
            "it speaks no TLS, and this side has a certificate",
            reason=Reason.AUTHORITY_UNKNOWN,
        )
    except LinkError:
        return None
    if credentials is None:
        return LinkError(
            "it asks for a certificate, and there is none here", reason=Reason.NOT_ENROLLED
        )
    if trouble := trouble_with(credentials.certificate):
        return LinkError(
            f"the certificate of this side does not hold: {trouble}",
            reason=Reason.NOT_ENROLLED,
            fix="Set the clock, if it is the clock. A device that runs renews its certificate by "
            "itself; an operator makes another with `driftline cloud member add`.",
        )
    if not _shared(roots, read_chain(credentials.roots)):
        return LinkError(
            "its authority is another one than the one that this side was enrolled with",
            reason=Reason.AUTHORITY_UNKNOWN,
            fix=f"{explain(Reason.AUTHORITY_UNKNOWN)} If it was made anew, enrol again.",
        )
    return None


def _shared(one: list[x509.Certificate], other: list[x509.Certificate]) -> bool:
    return bool({fingerprint(each) for each in one} & {fingerprint(each) for each in other})
