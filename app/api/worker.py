"""The worker: the program that the supervisor starts for serving (`python -m app.api.worker`)."""

from app.api.server import run_worker
from app.api.service import create_app

if __name__ == "__main__":
    run_worker(create_app)
