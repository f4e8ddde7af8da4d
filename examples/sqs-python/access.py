"""What access keys allow and what is refused, with boto3: `python access.py URL`.

The server was started with `--access-keys access-keys.yaml`."""

import sys
import urllib.error
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from running import run

ENDPOINT = sys.argv[1]
SECRETS = {"any": "any-secret-of-its-own", "producer": "the-producers-secret/of+its/own+40+chars"}
REGION = "us-east-1"


def client(key, secret=None, service="sqs", token=None, **config):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret or SECRETS[key],
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def fails(code, call, **members):
    try:
        call(**members)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response
    raise AssertionError(f"{code} was not raised")


def queue(name):
    return client("any").create_queue(QueueName=name)["QueueUrl"]


def another_secret_is_refused():
    wrong = client("any", "any-secret-of-its-own-")
    told = fails("SignatureDoesNotMatch", wrong.list_queues)
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 403
    fails("SignatureDoesNotMatch", client("any", "another-one-of-sixteen", "sts").get_caller_identity)


def an_unknown_key_is_refused():
    told = fails("InvalidClientTokenId", client("nobody", SECRETS["any"]).list_queues)
    assert told["Error"]["Message"] == "The security token included in the request is invalid."


def a_session_is_refused():
    fails("InvalidClientTokenId", client("any", token="token").list_queues)


def nobody_comes_unsigned():
    fails("MissingAuthenticationToken", client("any", signature_version=UNSIGNED).list_queues)


def a_producer_sends_and_does_nothing_else():
    url, other = queue("mail"), queue("other")
    producer = client("producer")
    assert producer.get_queue_url(QueueName="mail")["QueueUrl"] == url
    producer.send_message(QueueUrl=url, MessageBody="x")
    assert producer.list_queues()["QueueUrls"] == [url]
    told = fails("AccessDenied", producer.receive_message, QueueUrl=url)
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert "is not authorized to perform: sqs:receivemessage on resource: arn:aws:sqs" in told["Error"]["Message"]
    fails("AccessDenied", producer.send_message, QueueUrl=other, MessageBody="x")
    fails("AccessDenied", producer.send_message, QueueUrl=url.replace("mail", "none"), MessageBody="x")
    fails("AccessDenied", producer.create_queue, QueueName="mail-more")
    fails("AccessDenied", producer.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
    fails("AccessDenied", producer.get_queue_url, QueueName="other")
    fails("AccessDenied", producer.delete_queue, QueueUrl=url)


def another_accounts_queues_are_out_of_reach():
    url = queue("apart").replace("000000000000", "111122223333")
    fails("AccessDenied", client("any").send_message, QueueUrl=url, MessageBody="x")


def presigned(url, key="any"):
    request = AWSRequest(method="GET", url=url)
    SigV4QueryAuth(Credentials(key, SECRETS[key]), "sqs", REGION, expires=60).add_auth(request)
    return request.url


def get(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def an_address_can_be_presigned():
    place = queue("mail")
    url = presigned(f"{place}?Action=SendMessage&Version=2012-11-05&MessageBody=a%20b%2Bc", "producer")
    status, body = get(url)
    assert status == 200 and "<MessageId>" in body, body
    status, body = get(url.replace("SendMessage", "DeleteQueue"))
    assert status == 403 and "<Code>SignatureDoesNotMatch</Code>" in body, body
    status, body = get(url.replace("a%20b", "a%20c"))
    assert status == 403 and "<Code>SignatureDoesNotMatch</Code>" in body, body
    status, body = get(presigned(f"{place}?Action=ReceiveMessage&Version=2012-11-05", "producer"))
    assert status == 403 and "<Code>AccessDenied</Code>" in body, body
    status, body = get(place)
    assert status == 403 and "<Code>MissingAuthenticationToken</Code>" in body, body


CHECKS = [
    another_secret_is_refused,
    an_unknown_key_is_refused,
    a_session_is_refused,
    nobody_comes_unsigned,
    a_producer_sends_and_does_nothing_else,
    another_accounts_queues_are_out_of_reach,
    an_address_can_be_presigned,
]


if __name__ == "__main__":
    run(CHECKS)
