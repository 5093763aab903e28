# The interface for a person: make run | test | check | loadtest | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup run check test loadtest loadtest-peers loadtest-compression loadtest-report clean lock

setup: $(READY)

# The lock is a constraints file: every version of every package, one place, used by the Dockerfile too.
$(READY): pyproject.toml requirements.lock
	@echo "slimrank: installing into $(VENV) (the first time this takes a minute or two)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[compress,dev]'
	@touch $@

run: setup
	@exec $(BIN)/slimrank serve --make-admin-key $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two files of tests at a time, in the order that tests/conftest.py gives them: a long one at the end would leave a
# processor idle. Types are checked beside the tests.
test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS); tests=$$?; \
	wait $$types && exit $$tests

# Our own service alone, about 5 minutes.
loadtest: setup
	$(BIN)/python -m loadtest $(ARGS)

# Every peer that can be installed beside us, about half an hour; 25 minutes once they are installed.
loadtest-peers: setup
	$(BIN)/python -m loadtest install
	$(BIN)/python -m loadtest check
	$(BIN)/python -m loadtest peers $(ARGS)

# Other compression tools on the demo's baseline; the demo must have been compressed: .venv/bin/slimrank compress movielens
loadtest-compression: setup
	$(BIN)/python -m loadtest.compression install
	$(BIN)/python -m loadtest.compression run $(ARGS)

loadtest-report: setup
	$(BIN)/python -m loadtest report

clean:
	rm -rf $(VENV) store .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Renew the lock: resolve in an empty environment, write down what was chosen.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet -e '.[compress,dev]'
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
