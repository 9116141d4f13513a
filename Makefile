# Each target installs what it needs, once, and again when the lock it depends on changed.

HOST ?= 127.0.0.1
PORT ?= 3000
# The first interpreter that runs and is 3.11 or 3.12. (A name on the PATH may be a shim that does not run.)
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)

SERVE := .venv/bin/python
DEV := .venv-dev/bin/python
PIP_INSTALL := -m pip install -qq --disable-pip-version-check
# The locks hold what the public index offers, whatever this machine's pip is configured to add.
PIP_COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" \
	.venv-dev/bin/pip-compile --quiet --upgrade --strip-extras --unsafe-package pip \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
TORCH := 2.13.0
# `bentoml serve` empties a folder of its BENTOML_HOME when it starts, so each server has its own.
export BENTOML_DO_NOT_TRACK := True
STORE := BENTOML_HOME="$(CURDIR)/.bentoml/store"

.PHONY: help serve test check train evaluate export study speedrun peers load bench overload chaos soak fuzz inputs bento lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

serve: .venv/.installed ## Serve models/ on 127.0.0.1:3000 (HOST=, PORT=)
	@$(SERVE) -c 'import socket; socket.create_server(("$(HOST)", $(PORT)))' 2>/dev/null || \
		{ echo "Port $(PORT) of $(HOST) is in use (or not to be had); choose another: make serve PORT=3001" >&2; exit 1; }
	@echo "Latentry starts on http://$(HOST):$(PORT) (Ctrl-C stops it). Try, once it is ready:"
	@echo "  curl http://$(HOST):$(PORT)/models"
	@echo "  curl -X POST 'http://$(HOST):$(PORT)/sample?model=mnist-gan&n=64' -o digits.png"
	@exec $(SERVE) -m service --host "$(HOST)" --port "$(PORT)"

test: check .venv/.installed ## Prove that everything works: check, then all the tests
	$(DEV) -m pytest tests/training -n 2 --dist loadfile
	$(DEV) -m pytest --ignore=tests/training

check: .venv-dev/.installed ## Lint, formatting and types
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy

train: .venv-dev/.installed ## Train a model: make train RECIPE=mnist-vae [ARGS="--minutes 5"]
	$(if $(RECIPE),,$(error say which recipe: make train RECIPE=mnist-vae))
	$(DEV) -m training train $(RECIPE) $(ARGS)

evaluate: .venv-dev/.installed ## Measure a published model again: make evaluate MODEL=mnist-vae
	$(if $(MODEL),,$(error say which model: make evaluate MODEL=mnist-vae))
	$(DEV) -m training evaluate $(MODEL) $(ARGS)

export: .venv-dev/.installed ## Write a run's bundle into models/: make export RUN=runs/mnist-vae
	$(if $(RUN),,$(error say which run: make export RUN=runs/mnist-vae))
	$(DEV) -m training export $(RUN) $(ARGS)

study: .venv-dev/.installed ## Reproduce a study of docs/studies: make study NAME=kl [ARGS=--quick]
	$(if $(NAME),,$(error say which study: make study NAME=kl))
	$(DEV) -m training study $(NAME) $(ARGS)

speedrun: .venv-dev/.installed ## Train a GAN until it draws all of 1000 modes, against the clock (five times; ARGS="--seeds 1")
	$(DEV) -m training speedrun $(ARGS)

peers: .venv-dev/.installed .venv-peers/pythae/.installed ## Ours and what one would otherwise train, for the same time; writes docs/peers.md (ARGS="--minutes 5")
	$(DEV) -m training peers $(ARGS)

load: .venv-dev/.installed ## Load-test the service; fails when it is worse than load_tests/budgets.toml
	$(DEV) -m load_tests.run $(ARGS)

bench: .venv/.installed .venv-dev/.installed ## Measure the service beside others; writes docs/benchmarks.md (half an hour)
	$(DEV) -m load_tests.bench $(ARGS)

overload: .venv/.installed .venv-dev/.installed ## Ask five times what the service can do, for a minute, three times: a part of the chaos (12 minutes)
	$(DEV) -m load_tests.chaos --only overload $(ARGS)

chaos: .venv/.installed .venv-dev/.installed ## Do the service harm, and see what it promised (20 minutes; ARGS="--only waves")
	$(DEV) -m load_tests.chaos $(ARGS)

soak: .venv/.installed .venv-dev/.installed ## Everything for 20 minutes: nothing may grow (ARGS="--minutes 2")
	$(DEV) -m load_tests.soak $(ARGS)

fuzz: .venv-dev/.installed ## Try damaged and made-up input (half an hour; ARGS="api --cases 1000": a part)
	$(DEV) -m tests.fuzz $(ARGS)

inputs: .venv-dev/.installed ## Write docs/bad-inputs.md anew: what bad input is answered
	$(DEV) -m tests.service.http.bad.page

bento: .venv-dev/.installed ## Build the Bento and say how to serve it
	$(STORE) $(DEV) -m bentoml build
	@echo 'Serve it: BENTOML_HOME="$(CURDIR)/.bentoml/store" .venv-dev/bin/bentoml serve latentry:latest --host $(HOST) --port $(PORT)'

# A CPU and a CUDA build of torch differ in their hash and in the libraries they bring, so those two locks have no
# hashes and leave CUDA's libraries (all pinned by torch itself) and triton to the torch that pip finds. Of an extra's
# markers pip-compile keeps none.
lock: .venv-dev/.installed ## Write requirements/*.txt anew: the newest versions that pyproject.toml allows
	$(PIP_COMPILE) --generate-hashes -o requirements/serve.txt pyproject.toml
	$(PIP_COMPILE) --annotation-style=line -c requirements/serve.txt -P torch==$(TORCH) \
		--extra train --extra load --extra dev -o requirements/dev.txt pyproject.toml
	$(PIP_COMPILE) --annotation-style=line -c requirements/dev.txt -P torch==$(TORCH) \
		--extra train -o requirements/train.txt pyproject.toml
	sed -i.bak -E '/^(nvidia-ml-py|tritonclient)=/!{/^(nvidia|cuda|triton)[a-z0-9-]*=/d;}' requirements/dev.txt requirements/train.txt
	sed -i.bak -E 's/^(atheris==[0-9.]+) +/\1 ; sys_platform == "linux" and platform_machine == "x86_64"  /' requirements/dev.txt
	rm requirements/*.bak

clean: ## Remove caches, reports and builds (environments and runs stay)
	rm -rf .bentoml .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis load_tests/results

# A stamp is written last: an install that was cut short is begun anew.
.venv/.installed: requirements/serve.txt
	@echo "Installing the serving environment into .venv (once; about a minute) ..."
	@$(if $(PYTHON),,$(error Latentry needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11))
	@$(PYTHON) -m venv --clear .venv
	@$(SERVE) $(PIP_INSTALL) --require-hashes -r $<
	@touch $@

.venv-dev/.installed: requirements/dev.txt
	@echo "Installing the development environment into .venv-dev (once; some minutes) ..."
	@$(if $(PYTHON),,$(error Latentry needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11))
	@$(PYTHON) -m venv --clear .venv-dev
	@$(DEV) $(PIP_INSTALL) -r $<
	@touch $@

.venv-peers/pythae/.installed: training/peers/pythae.txt
	@echo "Installing pythae into .venv-peers/pythae (once; a minute) ..."
	@$(PYTHON) -m venv --clear .venv-peers/pythae
	@.venv-peers/pythae/bin/python $(PIP_INSTALL) -r $<
	@touch $@
