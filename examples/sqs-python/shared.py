"""What holds for servers that stand over one broker, with boto3: `python shared.py URL URL`."""

import sys
import threading

import boto3
from botocore.config import Config

from running import run

PATIENCE = 30.0


def client(url):
    return boto3.client(
        "sqs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any-secret-of-its-own",
        config=Config(retries={"total_max_attempts": 1}),
    )


HERE, THERE = client(sys.argv[1]), client(sys.argv[2])


def queue(name, **attributes):
    """The queue's URL at each of the servers."""
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    here = HERE.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    there = THERE.get_queue_url(QueueName=name)["QueueUrl"]
    assert here != there and here.startswith(sys.argv[1].rstrip("/")), (here, there)
    return here, there


def receive(at, url, **options):
    return at.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **options).get("Messages", [])


def a_receive_is_made_again_at_another_server():
    here, there = queue("again.fifo", ContentBasedDeduplication="true")
    for body in ["a", "b"]:
        HERE.send_message(QueueUrl=here, MessageBody=body, MessageGroupId="g")
    first = receive(HERE, here, ReceiveRequestAttemptId="lost-answer")
    again = receive(THERE, there, ReceiveRequestAttemptId="lost-answer")
    bodies = [message["Body"] for message in again]
    assert bodies == [message["Body"] for message in first] == ["a", "b"], (first, again)
    assert receive(THERE, there, ReceiveRequestAttemptId="another") == []
    HERE.delete_message(QueueUrl=here, ReceiptHandle=again[0]["ReceiptHandle"])
    THERE.delete_message(QueueUrl=there, ReceiptHandle=first[1]["ReceiptHandle"])
    assert receive(HERE, here, ReceiveRequestAttemptId="lost-answer") == []


def a_duplicate_is_known_at_another_server():
    here, there = queue("once.fifo")
    message = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    first = HERE.send_message(QueueUrl=here, **message)
    second = THERE.send_message(QueueUrl=there, **message)
    assert first["SequenceNumber"] == second["SequenceNumber"], (first, second)
    assert len(receive(THERE, there)) == 1


def a_long_poll_wakes_on_a_message_of_another_server():
    here, there = queue("woken")
    got = []
    poll = threading.Thread(target=lambda: got.extend(receive(THERE, there, WaitTimeSeconds=20)))
    poll.start()
    HERE.send_message(QueueUrl=here, MessageBody="x")
    poll.join(PATIENCE)
    assert [message["Body"] for message in got] == ["x"], got


def a_handle_is_good_at_every_server():
    here, there = queue("handles", VisibilityTimeout="600")
    HERE.send_message(QueueUrl=here, MessageBody="x")
    [message] = receive(HERE, here)
    handle = message["ReceiptHandle"]
    THERE.change_message_visibility(QueueUrl=there, ReceiptHandle=handle, VisibilityTimeout=700)
    THERE.delete_message(QueueUrl=there, ReceiptHandle=handle)
    counts = HERE.get_queue_attributes(QueueUrl=here, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "0", counts


CHECKS = [
    a_receive_is_made_again_at_another_server,
    a_duplicate_is_known_at_another_server,
    a_long_poll_wakes_on_a_message_of_another_server,
    a_handle_is_good_at_every_server,
]


if __name__ == "__main__":
    run(CHECKS)
