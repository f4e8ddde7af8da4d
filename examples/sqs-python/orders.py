"""Sends orders to a queue and works on them, with boto3 as it is.

    python orders.py http://127.0.0.1:9324
"""

import json
import sys

import boto3


def main(endpoint: str) -> None:
    sqs = boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    dead = sqs.create_queue(QueueName="orders-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
    orders = sqs.create_queue(QueueName="orders", Attributes={"RedrivePolicy": redrive})["QueueUrl"]

    for number in range(3):
        sqs.send_message(
            QueueUrl=orders,
            MessageBody=json.dumps({"order": number}),
            # What a worker of the library calls the task's kind.
            MessageAttributes={"type": {"DataType": "String", "StringValue": "order.placed"}},
        )

    done = 0
    while done < 3:
        received = sqs.receive_message(QueueUrl=orders, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        for message in received.get("Messages", []):
            print("order", json.loads(message["Body"])["order"])
            # A message that is not deleted comes back when its visibility timeout is over.
            sqs.delete_message(QueueUrl=orders, ReceiptHandle=message["ReceiptHandle"])
            done += 1


if __name__ == "__main__":
    main(sys.argv[1])
