# `make help` lists the targets. Everything runs in .venv, which is made when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A release takes a portable and faster one than this machine's: .github/workflows/release.yaml.
ARCHIVE_PYTHON ?= $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo install check format test e2e bench docs proto matrix kernels windows agent archive krew smoke site dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml plugin.yaml
	$(PYTHON) tools/make_venv.py $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

install: $(STAMP) ## make the virtual environment with kdns and the development tools in it

demo: $(STAMP) ## set up and run the main job on a recording; no cluster needed
	$(BIN)/kubectl-kdns demo

check: $(STAMP) ## ruff, mypy --strict, generated files, layering, duplicates of shape
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/gen_docs.py --check
	$(BIN)/python tools/gen_help.py --check
	$(BIN)/python tools/gen_proto.py --check
	$(BIN)/python tools/duplicates.py

format: $(STAMP) ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(STAMP) ## unit, golden, property and integration tests; no cluster needed
	$(BIN)/python -m pytest

e2e: $(STAMP) ## end-to-end tests against the cluster that KUBECONFIG names
	$(BIN)/python -m pytest tests/e2e

bench: $(STAMP) ## speed and memory, beside a peer or a limit, in one run
	$(BIN)/python bench/run.py

docs: $(STAMP) ## make the generated docs and help pages anew
	$(BIN)/python tools/gen_docs.py
	$(BIN)/python tools/gen_help.py

proto: $(STAMP) ## generate the code of Hubble's API anew
	$(BIN)/python tools/gen_proto.py

matrix: $(STAMP) ## the tests with the lowest and newest dependencies, on every Python here (by hand: minutes)
	$(BIN)/python tools/matrix.py

kernels: $(STAMP) ## boot Debian's kernels in qemu and count what the agent sees (by hand: minutes)
	$(BIN)/python tools/kernels.py

windows: $(STAMP) ## tests, archive and program under Python for Windows, in Wine (by hand: minutes)
	$(BIN)/python tools/windows.py

agent: $(STAMP) ## build the eBPF agent for both architectures
	$(BIN)/python tools/build_agent.py

archive: $(STAMP) ## the archive for krew, for this platform: with Python inside (ARCHIVE_PYTHON)
	rm -rf build/archive-venv
	$(ARCHIVE_PYTHON) tools/make_venv.py build/archive-venv
	build/archive-venv/bin/python -m pip install --quiet --upgrade . 'pyinstaller==6.22.*'
	build/archive-venv/bin/python tools/make_archive.py

krew: $(STAMP) ## krew's manifest for the archives in dist
	$(BIN)/python tools/gen_krew.py

smoke: $(STAMP) ## install the archive as krew does, and run it without a Python
	$(BIN)/python tools/smoke_archive.py

site: ## the docs site, below build/site
	$(PYTHON) -m venv build/site-venv
	build/site-venv/bin/pip install --quiet 'mkdocs-material==9.*' PyYAML
	build/site-venv/bin/python tools/make_site.py

dist: $(STAMP) ## wheel and sdist, checked, and the wheel tried in a venv of its own
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist/*.whl dist/kubectl_kdns-*.tar.gz
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*.whl dist/kubectl_kdns-*.tar.gz
	$(BIN)/python -m venv --clear build/dist-venv
	build/dist-venv/bin/pip install --quiet dist/*.whl
	cd build && dist-venv/bin/kubectl-kdns demo --journeys >/dev/null
	build/dist-venv/bin/python -c 'from kdns_ebpf.local import agent_binary as a; assert a("amd64").is_file() and a("arm64").is_file()'

clean: ## remove what the targets made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
