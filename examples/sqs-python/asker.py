"""Asks SQS what it is told to on stdin, by boto3, and answers on stdout: a line each.

A question is `{"endpoint": URL, "action": "SendMessage", "members": {...}}`. An answer is `{"done": {...}}`,
`{"refused": CODE}`, or `{"unknown": WHY}` where no answer came and what was asked may have been done or not. Each
question is one request: nothing is asked again.
"""

import functools
import json
import sys

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=40)


@functools.cache
def client(endpoint):
    return boto3.client("sqs", endpoint_url=endpoint, config=CONFIG)


def answer(question):
    call = getattr(client(question["endpoint"]), xform_name(question["action"]))
    try:
        done = call(**question["members"])
    except ClientError as error:
        told = error.response["Error"]["Code"]
        is_certain = error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
        return {"refused": told} if is_certain else {"unknown": told}
    except (BotoCoreError, HTTPClientError) as error:
        return {"unknown": repr(error)}
    return {"done": {name: value for name, value in done.items() if name != "ResponseMetadata"}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
