# Two commands do everything: `make up` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: up test check bench prove fmt lock clean help

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

$(STAMP): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: $(STAMP) ## Everything in one place: database, migrations, demo population, web and worker
	@exec $(BIN)/wellward up

test: $(STAMP) ## The whole suite
	$(BIN)/python -m pytest

check: $(STAMP) ## Format, lint, types, import contracts, documents, schema and migration drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/wellward documents check
	$(BIN)/wellward schema export --check
	$(BIN)/wellward product schema --check
	$(BIN)/wellward migrate --check-drift

bench: $(STAMP) ## Speed against a raw handler and graphql-core in the same run
	$(BIN)/python -m bench
	$(BIN)/python -m bench.ledger

prove: $(STAMP) ## The full counts of every promise, one table
	$(BIN)/python -m bench.prove

fmt: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP) ## Lock the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## Remove the environment and the embedded database
	@test ! -x $(BIN)/python || $(BIN)/python -c "from pathlib import Path; from app.adapters.embedded_postgres import EmbeddedPostgres as E; E(Path('var/postgres')).remove()"
	rm -rf $(VENV) var
