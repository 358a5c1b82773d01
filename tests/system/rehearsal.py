"""Marks of rehearsals, as a load tool makes them: by what the documents say, with the standard library alone."""
import hashlib
import hmac
import time


def sign(secret, text):
    return hmac.new(bytes.fromhex(secret), text.encode(), hashlib.sha256).hexdigest()


def mark(key, user="load-", expires_in=600, secret=None):
    """The header with a mark; `key` as POST /admin/v1/rehearsal-keys has answered it."""
    text = f"v1;key={key['key']};exp={int(time.time()) + expires_in};user={user}"
    return {"Penstock-Rehearsal": f"{text};sig={sign(secret or key['secret'], text)}"}


def new_key(gateway, **members):
    answer = gateway.admin("POST", "/admin/v1/rehearsal-keys", members)
    assert answer.status == 201, answer
    return answer.json


def make_twin(gateway, sale, name=None, stock=5, **document):
    return gateway.make_sale(name or f"{sale}-twin", stock=stock, rehearsal=True, twin_of=sale, **document)
