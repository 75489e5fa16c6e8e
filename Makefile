# Two commands do everything: `make demo` and `make test`. Each sets up .venv first, once.
PYTHON ?= python3
VOICES ?= data/demo/voices
WORK   ?= work/demo
CONFIG ?= offline
SAY    ?= the box was thrown beside the parked truck, on march third, nineteen forty.
PROMPT ?= data/demo/voices/english/slt/slt_0001.wav
ARGS   ?= --align pocketsphinx --diarize embedded

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# One thread each: two threads in a small model collapse when another job wants the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint setup synthesisers clean

demo: setup
	@echo "Running the whole chain on $(VOICES): texts, phonemes, codes, prompts, training data → $(WORK)"
	@$(BIN)/vall-e prepare "$(VOICES)" "$(WORK)" --config "$(CONFIG)" $(ARGS)
	@$(BIN)/vall-e synthesize "$(SAY)" --model tiny --prompt "$(PROMPT)" --output "$(WORK)/spoken.wav"

test: setup lint synthesisers
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(STAMP)

# Programs that some tests use: the script that trains the codec tiny speaks through two of them, one is a phonemizer.
# Where they can't be installed, those tests say so and are skipped.
PROGRAMS := flite espeak-ng festival
synthesisers:
	@for name in $(PROGRAMS); do command -v $$name >/dev/null || missing=1; done; \
	if [ "$$missing" ] && ! { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq $(PROGRAMS); } >/dev/null 2>&1; \
	then echo "not all of $(PROGRAMS) are installed: the tests that use them are skipped"; fi

# torch goes first and alone: with it in place nothing that follows asks for the CUDA build. What pip prints goes to a log,
# whose end is shown where it fails.
LOG := $(VENV)/install.log
PIP  = $(BIN)/pip install --progress-bar off -c constraints/cpu.txt $(1) >>$(LOG) 2>&1 || { tail -n 20 $(LOG); exit 1; }
$(STAMP): pyproject.toml constraints/cpu.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and f"CPython 3.11 is needed for the tested set, this is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	@echo "Setting up $(VENV), once: about 4 GB and a few minutes."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || \
		{ $(PYTHON) -m pip install --quiet virtualenv && $(PYTHON) -m virtualenv --clear $(VENV); }
	@echo "1/2 Installing torch …"
	@$(call PIP,torch)
	@echo "2/2 Installing vall_e and the back ends …"
	@$(call PIP,-e '.[dev]')
	@$(call PIP,--no-deps resemblyzer)
	@! $(BIN)/pip check | grep -v '^resemblyzer \|^No broken'  # what resemblyzer asks for is not used here
	@touch $@

clean:
	rm -rf $(VENV) work build *.egg-info
