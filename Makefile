# Everything here works on a fresh machine: what is missing is installed, or named.
.PHONY: help demo quick test floors prove apps check docs format bench regression screenshots lock release clean
PYTHON := .venv/bin/python
# tests wait more than they compute: one process more than there are cores
JOBS ?= $(shell echo $$(($$(nproc) + 1)))
# tests start the program a thousand times; it is compiled once, whatever the environment says
unexport PYTHONDONTWRITEBYTECODE

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## take, prove and unpack a real backup of the sample app on an embedded PostgreSQL
	@scripts/bootstrap demo
	@$(PYTHON) scripts/demo.py

quick: ## format, lint, types, layers and the unit tests that take no time: less than a minute
	@scripts/bootstrap dev
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	.venv/bin/lint-imports
	@# types take one core for as long as the tests begin; unit tests wait for nothing: one process for each core
	$(PYTHON) -m mypy & types=$$!; \
		$(PYTHON) -m pytest --quiet --numprocesses=$(shell nproc) -m "not slow and not fuzz" tests/unit; tests=$$?; \
		wait $$types && exit $$tests

test: ## install what tests need and pass them all; PG=18 on one server's major, TESTS=tests/unit a part
	@scripts/bootstrap dev
	@scripts/test-needs
	@$(PYTHON) -m compileall -q src
	$(PYTHON) -m pytest --numprocesses=$(JOBS) $(if $(PG),--pg=$(PG)) $(TESTS)

floors: ## run the tests of commands and Flask with the oldest dependencies allowed, in an environment of their own
	@scripts/bootstrap dev
	@scripts/floors

prove: ## attack it as docs/how-it-is-tested.md tells, hours of it: MINUTES=20, SEED=7, PART=faults,kills, CASE=12
	@scripts/bootstrap dev
	@scripts/test-needs
	PYTHONPATH=tests $(PYTHON) -m proof $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PART),--part $(PART)) $(if $(CASE),--case $(CASE))

apps: ## back up and restore applications from the package index, ten minutes and more: ONLY=wagtail,ara AGAIN=1
	@scripts/bootstrap dev
	PYTHONPATH=tests $(PYTHON) -m proof.apps $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

check: ## format, lint, types and the layers of the package, changing nothing
	@scripts/bootstrap dev
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports --no-logo --no-cache
	$(PYTHON) scripts/make-doc-tables.py --check
	PYTHONPATH=tests $(PYTHON) -m proof --check
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	@scripts/docs

docs: ## build the documentation as a site with search, every link checked: .cache/site/index.html
	@scripts/docs

format: ## put the code into its format, and the generated tables in docs/ up to date
	@scripts/bootstrap dev
	$(PYTHON) -m ruff check --fix-only .
	$(PYTHON) -m ruff format .
	$(PYTHON) scripts/make-doc-tables.py
	PYTHONPATH=tests $(PYTHON) -m proof --page

bench: ## measure against the shell pipeline; takes an hour and 15 GB of disk
	@scripts/bootstrap bench
	PYTHONPATH=tests $(PYTHON) -m benchmarks $(BENCH)

regression: ## put PostgreSQL's own regression database through backup, restore and back; needs root and a compiler
	@scripts/bootstrap dev
	@$(PYTHON) scripts/regression.py

screenshots: ## take the documentation's pictures of the page anew; needs chromium and the font Inter
	@scripts/bootstrap dev
	@$(PYTHON) scripts/screenshots.py

lock: ## write requirements/*.txt anew from pyproject.toml
	@scripts/lock $(LOCK)

release: ## build wheel, sdist and SBOM into dist/ from what is committed, twice, and check them; REHEARSE=1 only tries
	@scripts/bootstrap dev
	@scripts/environment release
	@$(PYTHON) scripts/release.py $(if $(REHEARSE),--rehearse)

clean: ## remove everything that was made here
	rm -rf .venv .cache .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
