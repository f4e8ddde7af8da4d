"""Signs requests as clients do, with botocore itself, and prints them as JSON.

    python3 -m venv venv && venv/bin/pip install botocore==1.44.8
    venv/bin/python sign.py > botocore.json

Nothing is sent. Time stands still and the key is the one of AWS's documentation, so that the
same botocore prints the same. Each request is what would go over the wire, its body in base64.
"""

import base64
import datetime
import json

import botocore.auth
import botocore.session
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 11, 28, 14, 0, 0, tzinfo=datetime.timezone.utc)
HOST = "127.0.0.1:9324"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = {KEY: SECRET, "111122223333": "another+secret/of+its/own+with+40+letters"}
QUEUE = f"http://{HOST}/000000000000/mail"
FORM = "application/x-www-form-urlencoded; charset=utf-8"

botocore.auth.get_current_datetime = lambda *_, **__: NOW
requests = []


def keep(name, method, url, headers, body):
    place = url.split(HOST, 1)[1] or "/"
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
    headers = [[key, text(value)] for key, value in headers.items()]
    for header in headers:  # It is new each time.
        if header[0] == "amz-sdk-invocation-id":
            header[1] = "00000000-0000-4000-8000-000000000000"
    if not any(key.lower() == "host" for key, _ in headers):
        headers.insert(0, ["Host", HOST])
    body = body.encode() if isinstance(body, str) else body or b""
    if body and not any(key.lower() == "content-length" for key, _ in headers):
        headers.append(["Content-Length", str(len(body))])
    requests.append(
        {
            "name": name,
            "method": method,
            "place": place if place.startswith("/") else "/" + place,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
        }
    )


def client(service, **more):
    session = botocore.session.get_session()
    key = more.pop("key", KEY)
    return session.create_client(
        service,
        region_name=more.pop("region", "eu-west-1"),
        endpoint_url=f"http://{HOST}",
        aws_access_key_id=key,
        aws_secret_access_key=KEYS[key],
        config=Config(retries={"max_attempts": 0}, user_agent="botocore"),
    )


def call(name, service, operation, params, **more):
    def sent(request, **_):
        keep(name, request.method, request.url, request.headers, request.body)
        body = b"<a/>" if service == "sts" else b"{}"
        raw = type("Raw", (), {"stream": lambda *_, **__: iter([body]), "read": lambda *_: body})
        return AWSResponse(request.url, 200, {}, raw())

    made = client(service, **more)
    made.meta.events.register("before-send.*", sent)
    try:
        getattr(made, operation)(**params)
    except Exception as error:  # What comes back is not an answer; only what is sent counts.
        assert requests and requests[-1]["name"] == name, error


def sign(name, method, url, headers, data, auth):
    request = AWSRequest(method=method, url=url, headers=headers, data=data)
    auth.add_auth(request)
    made = request.prepare()
    keep(name, made.method, made.url, made.headers, made.body)


def main():
    call("json list", "sqs", "list_queues", {})
    call("json send", "sqs", "send_message", {"QueueUrl": QUEUE, "MessageBody": "hello"})
    text = 'ünïcödé 例 "<&>" \\ \n\t' + "x" * 300
    attributes = {"a.b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
    more = {"QueueUrl": QUEUE, "MessageBody": text, "MessageAttributes": attributes}
    call("json send, much", "sqs", "send_message", more)
    more = {"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20}
    call("json receive, another account and region", "sqs", "receive_message", more,
         key="111122223333", region="us-east-1")
    call("sts", "sts", "get_caller_identity", {}, region="us-east-1")

    header = lambda: SigV4Auth(Credentials(KEY, SECRET), "sqs", "eu-west-1")
    query = lambda: SigV4QueryAuth(Credentials(KEY, SECRET), "sqs", "eu-west-1", expires=3600)
    body = "Action=SendMessage&Version=2012-11-05&MessageBody=a%20b%2Bc"
    sign("query send", "POST", QUEUE, {"Content-Type": FORM}, body, header())
    sign("query get", "GET", QUEUE + "?Version=2012-11-05&Action=GetQueueAttributes"
         "&AttributeName.1=All&Z=a%20b&A=%C3%A9", {}, "", header())
    sign("blanks", "POST", QUEUE, {"Content-Type": FORM, "X-Amz-Meta": "  a   b  c "}, body, header())
    sign("presigned get", "GET", QUEUE + "?Action=ReceiveMessage&Version=2012-11-05", {}, "", query())
    sign("presigned get, odd signs", "GET", QUEUE + "?Action=SendMessage&Version=2012-11-05"
         "&MessageBody=a%20b%2Bc%2F%3D~%C3%A9", {}, "", query())
    target = {"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"}
    sign("presigned json", "POST", f"http://{HOST}/", target, "", query())
    more = {"QueueUrl": QUEUE, "MessageBody": "hello"}
    call("json send, the other key", "sqs", "send_message", more, key="111122223333")
    print(json.dumps({"now": "20261128T140000Z", "keys": KEYS, "requests": requests},
                     indent=1, ensure_ascii=False))


main()
