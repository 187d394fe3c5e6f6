import hashlib
import hmac
import time


def verify(secret, headers, body, now=None):
    """`body` is the text of the request as it came, not parsed and written again."""
    timestamp = headers.get("x-modelramp-timestamp", "")
    now = time.time() if now is None else now
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp)) > 300:
        return False
    signed = f"{timestamp}.{body}".encode()
    expected = "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    given = headers.get("x-modelramp-signature", "")
    return hmac.compare_digest(expected.encode(), given.encode())
