# Two commands set everything up: `make demo` and `make test`.  Both use a virtual environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo docs page page-tools browser test test-all test-torch-npu test-newest test-torches dist test-lowest test-frameworks test-many lint type samples fuzz bench-recording bench-compare bench-localisation bench-libraries bench-ranks bench-operators bench-monitor bench-page bench-reliability bench-replay bench-scale clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml setup.py constraints.txt $(wildcard dump/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## record a planted fault on a simulated NPU, compare with the CPU, read the advisor
	$(BIN)/python examples/demo.py

test: lint type  ## lint, types, and the tests that are not marked slow
	$(BIN)/python tests/parts.py -m "not slow"

test-all: lint type  ## lint, types, and all tests
	$(BIN)/python tests/parts.py

docs: $(INSTALLED)  ## build the documentation and the API reference into build/docs; a warning is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-torch-npu:  ## record on the real torch_npu over stub CANN libraries (installs it into .venv-torch-npu; needs gcc)
	$(PYTHON) tests/torch_npu/job.py

page-tools:  ## install what builds the page of a comparison (needs npm)
	npm ci --prefix acc_compare/report/html/source --no-audit --no-fund --ignore-scripts

page:  ## build the page anew from its sources, with what page-tools installs
	npm run --prefix acc_compare/report/html/source check
	npm run --prefix acc_compare/report/html/source build

browser: $(INSTALLED)  ## install Chromium and what steers it, for the tests of the page
	command -v chromium > /dev/null || \
		(apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'playwright>=1.40'

test-newest:  ## a chosen set of tests under the newest torch (installs it into .venv-newest, several GB)
	$(PYTHON) tests/torches/job.py --newest

test-torches:  ## the tests under older and newer torches, one at a time; writes docs/compatibility.md (TORCHES="2.7.1 2.1.2")
	$(PYTHON) tests/torches/job.py $(TORCHES)

dist: $(INSTALLED)  ## build sdist and wheel into dist/, and run the tests of the command line from the wheel
	$(BIN)/python tests/installed/job.py

test-lowest: $(INSTALLED)  ## the same with the lowest release of each dependency that pyproject.toml allows
	$(BIN)/python tests/installed/job.py --lowest

test-frameworks: $(INSTALLED)  ## transformers, Lightning, torchtitan, Megatron, DeepSpeed and msprobe itself (installs them, 5 GB)
	$(BIN)/python tests/frameworks/job.py

test-many: $(INSTALLED)  ## dumps at URLs and ranks on a cluster: a real S3 server and a real Dask scheduler (installs them)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cluster,remote]' s3fs 'moto[server]'
	$(BIN)/python -m pytest tests/acc_compare/test_runners.py tests/end_to_end/test_remote_dumps.py

lint: $(INSTALLED)  ## ruff alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(INSTALLED)  ## mypy alone
	$(BIN)/mypy

bench-monitor: $(INSTALLED)  ## time TrainerMon beside msprobe's (installs msprobe into .peer)
	$(BIN)/python benchmarks/monitor/run.py

fuzz: $(INSTALLED)  ## give `acc compare` 10,000 damaged and forged files
	$(BIN)/python benchmarks/fuzz/run.py --results

samples: $(INSTALLED)  ## make sample_dumps/ anew
	$(BIN)/python sample_dumps/make_samples.py

bench-recording: $(INSTALLED)  ## what recording costs, beside msprobe (an hour; BENCH="--only llama" for less)
	$(BIN)/python benchmarks/recording/run.py $(BENCH)
	$(if $(BENCH),,$(BIN)/python benchmarks/recording/launches.py)

bench-localisation: $(INSTALLED)  ## does the advisor name planted faults?  PEER=, PEER_ADVISOR=: pythons with msprobe
	$(BIN)/python benchmarks/localisation/run.py --sweep --write $(if $(PEER),--peer $(PEER)) \
		$(if $(PEER_ADVISOR),--peer-advisor $(PEER_ADVISOR))

bench-libraries: $(INSTALLED)  ## the same in models of transformers and diffusers (installs them): DRAWS="--seeds new:96 --write"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'transformers>=5,<6' 'diffusers>=0.35,<1'
	$(BIN)/python benchmarks/localisation/draws.py --libraries $(or $(DRAWS),--seeds 0-31)

bench-ranks: $(INSTALLED)  ## jobs of several ranks, cut in every way that is in use; writes RANKS.md
	$(BIN)/python benchmarks/localisation/ranks.py --seed new --write

bench-operators: $(INSTALLED)  ## is a healthy operator ever accused, a faulty one let pass?  All that torch lists
	$(BIN)/python benchmarks/operators/run.py

bench-compare: $(INSTALLED)  ## the time to compare, beside msprobe: PEERS="--peer 26.2.0=PYTHON"
	$(BIN)/python benchmarks/compare/run.py $(PEERS)

bench-page: $(INSTALLED)  ## how quick the page is in a real Chromium, and how large; writes benchmarks/page/RESULTS.md
	$(BIN)/python benchmarks/page/run.py

bench-scale: $(INSTALLED)  ## compare jobs of up to 1,024 ranks; writes docs/scale.md
	$(BIN)/python benchmarks/scale/run.py --write

bench-reliability: $(INSTALLED)  ## what a recording survives: kills, signals, full disks; writes docs/reliability.md
	$(BIN)/python benchmarks/reliability/run.py

bench-replay: $(INSTALLED)  ## what replaying and checking cost (benchmarks/replay/run.py: are planted faults confirmed?)
	$(BIN)/python -m benchmarks.replay.speed

clean:  ## remove the environment and everything that was generated
	rm -rf $(VENV) .venv-torch-npu .venv-newest .torches .venv-frameworks .peer-26.2.0 .peer-8.3.3 demo_output build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
