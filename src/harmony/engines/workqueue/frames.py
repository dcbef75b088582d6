"""What a crew and its driver say to each other: who they are, and then parcels and answers, as bytes.

crew    harmony ROLE CREW INDEX PID CHALLENGE
driver  CHALLENGE PROOF                           each proves that it has the crew's secret
crew    PROOF
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct

#: To a hand: the parcel's number, the lengths of the parcel and of the list of GPUs that follow.
TO_HAND = struct.Struct("<QQH")
#: To the driver: the parcel's number, the length of the answer that follows, whether the hand ends after it.
TO_DRIVER = struct.Struct("<QQ?")


def challenge() -> str:
    """Return a text that was never used before."""
    return secrets.token_hex(16)


def proof(secret: str, role: str, theirs: str, ours: str) -> str:
    """Return what shows that `role` has the secret, for these two challenges."""
    return hmac.new(secret.encode(), f"{role} {theirs} {ours}".encode(), hashlib.sha256).hexdigest()


def is_proof(text: str, secret: str, role: str, theirs: str, ours: str) -> bool:
    """True when the text is that proof."""
    return hmac.compare_digest(text.encode(), proof(secret, role, theirs, ours).encode())
