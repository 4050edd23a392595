PYTHON ?= python3
BIN = .venv/bin
CPU_WHEELS = https://download.pytorch.org/whl/cpu
export OMP_NUM_THREADS = 1
export OMP_WAIT_POLICY = PASSIVE

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH is '$(TORCH)'; it takes cpu, or nothing)
endif

.PHONY: install quickstart test test-slow test-faults soak pin lint

# TORCH=cpu takes torch from the index of CPU wheels. Without it, pip on Linux takes gigabytes of CUDA libraries with it
install: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	$(BIN)/python -m pip install -q $(shell grep '^torch==' constraints.txt) --index-url $(CPU_WHEELS)
endif
	$(BIN)/python -m pip install -q -c constraints.txt torch -e .
	touch $@

quickstart: install
	$(BIN)/dmm sweep quickstart
	$(BIN)/dmm report quickstart
	@echo
	@echo "dmm is installed in .venv. Call it as: $(BIN)/dmm list"
	@echo "Or once in a shell: source $(BIN)/activate"
	@echo "and from then on: dmm list"

.venv/tested: .venv/installed
	$(BIN)/python -m pip install -q -c constraints.txt torch -e '.[test,dev,collect]'
	touch $@

test: .venv/tested
	$(BIN)/python -m pytest -n 2 --dist loadfile  # a file stays with one worker, so that one Ray runs at a time

test-slow: .venv/tested
	$(BIN)/python -m pytest -m 'slow and not gpu'

test-faults: .venv/tested
	$(BIN)/python -m pytest -m faults -n 2 --dist worksteal

# MINUTES=60 SEED=7 bound and seed it. ROUND=13 repeats one round of a seed
soak: .venv/tested
	PYTHONPATH=.:tests $(BIN)/python tests/soak.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(ROUND),--round $(ROUND))

pin: .venv/tested  # after an edit of code that moves no number
	$(BIN)/python -m pytest tests/test_golden.py
	$(BIN)/python -m dmm.base.code_hash

lint: .venv/tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright
