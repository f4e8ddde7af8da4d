"""A Celery app whose broker speaks SQS (kombu's transport), with a predefined queue.

    celery -A tasks worker
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from celery import Celery, Task
from celery.exceptions import Reject

from backoff import Backoff

QUEUE = "celery-flights"
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9324")
JOURNAL = Path(os.environ.get("FLIGHTS_JOURNAL", "journal.txt"))
"""Where tasks tell what they did, one line each."""
BACKOFF = Backoff(initial_ms=500, max_ms=10_000)
ACCOUNT = "000000000000"


def broker_url() -> str:
    key = quote(os.environ.get("AWS_ACCESS_KEY_ID", "any"), safe="")
    secret = quote(os.environ.get("AWS_SECRET_ACCESS_KEY", "any"), safe="")
    return f"sqs://{key}:{secret}@{urlsplit(ENDPOINT).netloc}//"


class ByVisibility:
    """What kombu asks for the visibility timeout of a task that was rejected, by its receives."""

    def get(self, receives: int) -> int:
        return BACKOFF.visibility_seconds(receives)


app = Celery("flights", broker=broker_url())
app.conf.update(
    broker_transport_options={
        "region": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        "is_secure": urlsplit(ENDPOINT).scheme == "https",
        "wait_time_seconds": 20,
        "polling_interval": 0.1,
        "predefined_queues": {
            QUEUE: {
                "url": f"{ENDPOINT}/{ACCOUNT}/{QUEUE}",
                "backoff_policy": ByVisibility(),
                "backoff_tasks": ["tasks.arrive"],
            },
        },
    },
    task_default_queue=QUEUE,
    task_ignore_result=True,
    # A task whose worker dies comes back when its visibility timeout is over.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # SQS has no broadcasts.
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(bind=True, max_retries=4)
def depart(self: Task, flight: dict[str, Any]) -> None:
    """One that has not left yet is tried once more: Celery sends it again, with the time when it is due."""
    if flight["dep_time"] is None and self.request.retries == 0:
        tell(f"retried {name_of(flight)}")
        raise self.retry(countdown=BACKOFF.delay_ms(self.request.retries + 1) / 1_000)
    tell(f"departed {name_of(flight)}")


@app.task
def arrive(flight: dict[str, Any]) -> None:
    """The same by visibility: it stays in the queue, and is hidden for a while."""
    rejected = f"rejected {name_of(flight)}"
    if flight["arr_delay"] is None and not was_told(rejected):
        tell(rejected)
        raise Reject("it has not arrived yet", requeue=False)
    tell(f"arrived {name_of(flight)}")


@app.task
def taxi(name: str, clearance: str) -> None:
    """Waits until it may go: until there is a file."""
    tell(f"taxiing {name}")
    while not Path(clearance).exists():
        time.sleep(0.05)
    tell(f"taxied {name}")


def name_of(flight: dict[str, Any]) -> str:
    date = f"{flight['year']}-{flight['month']:02}-{flight['day']:02}"
    return f"{date}/{flight['carrier']}{flight['flight']}/{flight['origin']}"


def tell(what: str) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(f"{what}\n")


def was_told(what: str) -> bool:
    return JOURNAL.exists() and what in JOURNAL.read_text().splitlines()
