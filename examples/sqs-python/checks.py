"""What boto3 is promised, one function each: `python checks.py URL` runs them all."""

import hashlib
import json
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from running import run

ENDPOINT = sys.argv[1]
PATIENCE = 30.0
# Of `access-keys.yaml`; a server without keys takes any.
SECRETS = {"any": "any-secret-of-its-own", "111122223333": "another-secret-of-its-own"}


def client(key="any", region="us-east-1"):
    return boto3.client(
        "sqs",
        endpoint_url=ENDPOINT,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=SECRETS[key],
        config=Config(retries={"total_max_attempts": 1}),
    )


SQS = client()


def queue(name, **attributes):
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    return SQS.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def arn(url):
    asked = SQS.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return asked["Attributes"]["QueueArn"]


def receive(url, **options):
    options = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], **options}
    return SQS.receive_message(QueueUrl=url, **options).get("Messages", [])


def bodies(messages):
    return [message["Body"] for message in messages]


def fails(code, call, **members):
    try:
        call(**members)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error
    raise AssertionError(f"{code} was not raised")


def until(what, is_so):
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.02)


def a_queue_is_made_listed_and_deleted():
    url = queue("made")
    assert url.startswith(ENDPOINT), url
    assert SQS.get_queue_url(QueueName="made")["QueueUrl"] == url
    assert url in SQS.list_queues(QueueNamePrefix="made")["QueueUrls"]
    SQS.delete_queue(QueueUrl=url)
    assert "QueueUrls" not in SQS.list_queues(QueueNamePrefix="made")
    fails("AWS.SimpleQueueService.NonExistentQueue", SQS.get_queue_url, QueueName="made")
    try:
        SQS.get_queue_url(QueueName="made")
    except SQS.exceptions.QueueDoesNotExist:
        pass


def pages_are_followed():
    urls = {queue(f"page-{number}") for number in range(5)}
    pages = SQS.get_paginator("list_queues")
    pages = pages.paginate(QueueNamePrefix="page-", PaginationConfig={"PageSize": 2})
    listed = [page["QueueUrls"] for page in pages]
    assert len(listed) == 3 and {url for page in listed for url in page} == urls


def a_message_goes_through():
    url = queue("through")
    attributes = {
        "text": {"DataType": "String", "StringValue": "é<&>"},
        "number": {"DataType": "Number", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    body = "hello é \r\n\U0001f600"
    # boto3 compares the digests of what it sends and receives with its own.
    sent = SQS.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    [message] = receive(url, MessageAttributeNames=["All"])
    assert message["Body"] == body and message["MessageAttributes"] == attributes, message
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    SQS.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    counted = SQS.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessages"] == counted["ApproximateNumberOfMessagesNotVisible"] == "0"


def batches_go_through():
    url = queue("batches")
    entries = [{"Id": str(number), "MessageBody": f"b{number}"} for number in range(10)]
    sent = SQS.send_message_batch(QueueUrl=url, Entries=entries)
    assert len(sent["Successful"]) == 10 and "Failed" not in sent
    messages = receive(url)
    assert sorted(bodies(messages)) == sorted(entry["MessageBody"] for entry in entries)
    handles = [message["ReceiptHandle"] for message in messages]
    entries = [{"Id": str(n), "ReceiptHandle": h, "VisibilityTimeout": 0} for n, h in enumerate(handles[:2])]
    assert len(SQS.change_message_visibility_batch(QueueUrl=url, Entries=entries)["Successful"]) == 2
    assert len(receive(url)) == 2
    entries = [{"Id": str(n), "ReceiptHandle": h} for n, h in enumerate(handles[2:])]
    entries.append({"Id": "wrong", "ReceiptHandle": "garbage"})
    deleted = SQS.delete_message_batch(QueueUrl=url, Entries=entries)
    assert len(deleted["Successful"]) == 8
    assert deleted["Failed"][0]["Code"] == "ReceiptHandleIsInvalid" and deleted["Failed"][0]["SenderFault"]


def a_long_poll_wakes():
    url = queue("poll")
    got = []
    poll = threading.Thread(target=lambda: got.extend(bodies(receive(url, WaitTimeSeconds=20))))
    poll.start()
    SQS.send_message(QueueUrl=url, MessageBody="x")
    poll.join(PATIENCE)
    assert got == ["x"], got


def visibility_is_changed():
    url = queue("visible", VisibilityTimeout="600")
    SQS.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(url)
    assert receive(url) == []
    handle = message["ReceiptHandle"]
    SQS.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    [again] = receive(url)
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    change = SQS.change_message_visibility
    fails("InvalidParameterValue", change, QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=43201)
    fails("ReceiptHandleIsInvalid", change, QueueUrl=url, ReceiptHandle="garbage", VisibilityTimeout=1)
    code = "AWS.SimpleQueueService.MessageNotInflight"
    fails(code, change, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=1)


def a_fifo_queue_keeps_order_and_drops_duplicates():
    url = queue("order.fifo", ContentBasedDeduplication="true")
    numbers = []
    for body in ["a", "b", "b", "c"]:
        sent = SQS.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
        numbers.append(sent["SequenceNumber"])
    assert numbers[1] == numbers[2] and sorted(numbers) == numbers
    first = receive(url, MaxNumberOfMessages=2)
    assert bodies(first) == ["a", "b"] and receive(url) == []
    for message in first:
        SQS.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    [last] = receive(url)
    assert last["Body"] == "c" and last["Attributes"]["MessageGroupId"] == "g"


def dead_letters_go_and_come_back():
    dead = queue("dead")
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})
    url = queue("fails", RedrivePolicy=policy)
    assert SQS.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    SQS.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(url)
    SQS.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert receive(url) == []
    [moved] = receive(dead, VisibilityTimeout=0, WaitTimeSeconds=20)
    assert moved["MessageId"] == message["MessageId"]
    assert moved["Attributes"]["DeadLetterQueueSourceArn"] == arn(url)
    until("the lease is over", lambda: SQS.get_queue_attributes(
        QueueUrl=dead, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"] == "1")
    assert SQS.start_message_move_task(SourceArn=arn(dead))["TaskHandle"]

    def newest():
        return SQS.list_message_move_tasks(SourceArn=arn(dead))["Results"][0]

    until("the move ends", lambda: newest()["Status"] != "RUNNING")
    assert newest()["Status"] == "COMPLETED" and newest()["ApproximateNumberOfMessagesMoved"] == 1
    assert bodies(receive(url)) == ["x"]


def a_move_goes_elsewhere_and_is_cancelled():
    dead, other = queue("slow-dead"), queue("elsewhere")
    queue("slow", RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1}))
    for number in range(3):
        SQS.send_message(QueueUrl=dead, MessageBody=str(number))
    started = SQS.start_message_move_task(
        SourceArn=arn(dead), DestinationArn=arn(other), MaxNumberOfMessagesPerSecond=1)
    fails("AWS.SimpleQueueService.UnsupportedOperation", SQS.start_message_move_task, SourceArn=arn(dead))
    cancelled = SQS.cancel_message_move_task(TaskHandle=started["TaskHandle"])
    assert cancelled["ApproximateNumberOfMessagesMoved"] < 3

    def newest():
        return SQS.list_message_move_tasks(SourceArn=arn(dead))["Results"][0]

    until("it is cancelled", lambda: newest()["Status"] == "CANCELLED")


def tags_attributes_and_permissions():
    url = SQS.create_queue(QueueName="tags", tags={"a": "1"})["QueueUrl"]
    SQS.tag_queue(QueueUrl=url, Tags={"b": "2"})
    SQS.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert SQS.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}
    SQS.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})
    asked = SQS.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])
    assert asked["Attributes"] == {"DelaySeconds": "3"}
    SQS.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
    SQS.remove_permission(QueueUrl=url, Label="l")
    fails("InvalidAttributeName", SQS.set_queue_attributes, QueueUrl=url, Attributes={"Nothing": "1"})
    fails("QueueAlreadyExists", SQS.create_queue, QueueName="tags", Attributes={"DelaySeconds": "9"})


def a_purge_drops_everything():
    url = queue("purged")
    SQS.send_message(QueueUrl=url, MessageBody="x")
    SQS.purge_queue(QueueUrl=url)
    assert receive(url) == []


def accounts_stand_apart():
    other = client(key="111122223333", region="eu-west-1")
    url = other.create_queue(QueueName="apart")["QueueUrl"]
    assert url.endswith("/111122223333/apart")
    assert "QueueUrls" not in SQS.list_queues(QueueNamePrefix="apart")
    other.send_message(QueueUrl=url, MessageBody="x")
    assert other.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "x"


def the_resource_interface_works():
    sqs = boto3.resource("sqs", endpoint_url=ENDPOINT, region_name="us-east-1",
                         aws_access_key_id="any", aws_secret_access_key=SECRETS["any"])
    made = sqs.create_queue(QueueName="resource")
    made.send_message(MessageBody="x")
    [message] = made.receive_messages(WaitTimeSeconds=1)
    message.delete()
    assert sqs.get_queue_by_name(QueueName="resource").url == made.url


def long_messages_go_through():
    url = queue("long")
    body = "x" * 1_048_576
    SQS.send_message(QueueUrl=url, MessageBody=body)
    assert receive(url)[0]["Body"] == body
    fails("InvalidParameterValue", SQS.send_message, QueueUrl=url, MessageBody=body + "x")


def sts_says_who_asks():
    sts = boto3.client("sts", endpoint_url=ENDPOINT, region_name="us-east-1",
                       aws_access_key_id="111122223333", aws_secret_access_key=SECRETS["111122223333"])
    assert sts.get_caller_identity()["Account"] == "111122223333"


HELPERS = {client, queue, arn, receive, bodies, fails, until}


if __name__ == "__main__":
    mine = [it for it in globals().values() if callable(it) and getattr(it, "__module__", "") == "__main__"]
    run([it for it in mine if it not in HELPERS])
