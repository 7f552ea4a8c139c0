# The targets that people use; `make help` lists them. What runs is in the crates: this file builds the
# programs that are asked for, in one go, and calls them in order.

CONF ?= conf/demo.toml
DATASET ?=
OUT ?=
ARGS ?=
# libtorch, or flex: pure Rust, nothing to install, slower.
BACKEND ?= libtorch
VENV ?= data/venv

CARGO ?= cargo
PYTHON ?= python3
BIN := $(or $(CARGO_TARGET_DIR),target)/release
GOALS := $(or $(MAKECMDGOALS),help)

.DEFAULT_GOAL := help
.PHONY: help ingest resize train predict evaluate query notebooks dataset demo-data test lint parity scale pipelines clean programs libtorch
MAKEFLAGS += --no-print-directory
# GNU OpenMP threads that wait for work spin, by default long enough to starve whatever else runs.
export GOMP_SPINCOUNT ?= 2000
# Stages follow each other, and each uses all processors.
.NOTPARALLEL:

ifeq ($(filter $(BACKEND),libtorch flex),)
$(error BACKEND is $(BACKEND); it can be libtorch or flex)
endif
ifeq ($(BACKEND),flex)
FEATURES := --no-default-features
NEEDS_LIBTORCH :=
else
FEATURES :=
NEEDS_LIBTORCH := libtorch
endif

# The programs that the goals need, so that nobody waits for the compilation of what does not run.
needs = $(if $(filter $(1),$(GOALS)),$(2))
STAGES := $(call needs,ingest resize train predict evaluate notebooks,ingest) \
	$(call needs,resize train predict evaluate,resize) \
	$(call needs,train predict evaluate,train) \
	$(call needs,predict evaluate,predict) \
	$(call needs,evaluate,evaluate)
# The demo's pictures are drawn where nobody named other ones.
IS_DEMO := $(if $(DATASET)$(OSSIFY__DATASET__PATH),,$(shell grep -qs '^path *= *"data/datasets/phantom"' $(CONF) && echo yes))
PROGRAMS := $(strip $(if $(and $(strip $(STAGES)),$(IS_DEMO))$(filter demo-data,$(GOALS)),phantom) $(STAGES) \
	$(call needs,query,query) $(call needs,dataset,download))
NETWORK_PROGRAMS := $(filter train predict,$(PROGRAMS))
MISSING := $(strip $(foreach program,$(PROGRAMS),$(if $(wildcard $(BIN)/ossify-$(program)),,$(program))))
# Compilation times on two processors, for the line that says how long it takes.
PATIENCE := $(if $(filter query,$(MISSING)),10 to 25 minutes,$(if $(filter train predict,$(MISSING)),10 to 20 minutes,3 to 6 minutes))

ANNOUNCEMENT := compiling $(PROGRAMS:%=ossify-%), once: $(PATIENCE) on two processors

WHERE := --config $(CONF) $(if $(DATASET),--dataset '$(DATASET)') $(if $(OUT),--out '$(OUT)')
# Extra flags go to the stages that were named, not to those that they need.
flags = $(WHERE) $(if $(filter $(1),$(GOALS)),$(ARGS))

help: ## This list
	@echo 'make TARGET... [CONF=conf/demo.toml] [DATASET=DIR] [OUT=DIR] [ARGS="flags"] [BACKEND=libtorch|flex]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14
	@echo
	@echo '  make ingest train evaluate is the main job; without CONF it is the demo, on pictures that it draws.'
	@echo '  ARGS goes to the targets that you name; keys for all stages: OSSIFY__TRAIN__EPOCHS=5 make evaluate'

ingest: programs $(if $(IS_DEMO),demo-data) ## Labels to tables, and ingest.html with every fault
	@$(BIN)/ossify-ingest $(call flags,ingest)

resize: ingest ## Images to tensor shards
	@$(BIN)/ossify-resize $(call flags,resize)

train: resize ## Shards and tables to a trained network
	@$(BIN)/ossify-train $(call flags,train)

predict: train ## Predictions of the newest network
	@$(BIN)/ossify-predict $(call flags,predict)

evaluate: predict ## Scores, and report.html
	@$(BIN)/ossify-evaluate $(call flags,evaluate)

query: programs ## SQL over every artefact: ARGS="'SELECT ...'"; without ARGS the list of tables
	@$(BIN)/ossify-query --config $(CONF) $(if $(OUT),--out '$(OUT)') $(or $(ARGS),--tables)

notebooks: ingest ## Run the example scripts for DuckDB, pandas, polars and pyarrow over the tables
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/notebooks' pipelines/notebooks/requirements.txt
	@scripts/notebooks.sh '$(VENV)/notebooks/bin/python' '$(or $(OUT),data/work/$(basename $(notdir $(CONF))))'

dataset: programs ## Fetch BoneFractureYolo8 with your Kaggle key
	@$(BIN)/ossify-download dataset $(ARGS)

demo-data: programs ## Draw the demo's synthetic radiographs
	@$(BIN)/ossify-phantom --config $(CONF) $(if $(filter demo-data,$(GOALS)),$(ARGS)) >/dev/null

# Made anew by each test, because their version does not tell a program from the one that was built before.
NOTEBOOKS_TEST := data/work/notebooks-test
test: $(NEEDS_LIBTORCH) ## All tests
	@echo 'building everything and its tests: about 25 minutes on two processors the first time' >&2
	$(CARGO) build --release --workspace --all-targets $(FEATURES)
	$(CARGO) test --release --workspace --no-fail-fast $(FEATURES)
	@if [ -x '$(VENV)/parity/bin/python' ]; then scripts/parity.sh '$(BIN)' '$(VENV)/parity/bin/python'; \
		else echo 'comparisons with PyTorch, scikit-learn, pycocotools, Pillow and pydicom left out; make parity installs them and runs them' >&2; fi
	@if [ -x '$(VENV)/pipelines/bin/python' ]; then scripts/pipelines.sh '$(BIN)' '$(VENV)/pipelines/bin/python'; \
		else echo 'jobs for GitHub, GitLab, DVC, Ray, Slurm and Kubernetes not tested; make pipelines installs what they need and tests them' >&2; fi
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/notebooks' pipelines/notebooks/requirements.txt
	@set -e; for program in 'phantom --images 60' 'ingest --set ingest.min_objects_per_class=4' resize; do \
		'$(BIN)'/ossify-$$program --quiet --force --config conf/demo.toml --dataset '$(NOTEBOOKS_TEST)/dataset' --out '$(NOTEBOOKS_TEST)' >/dev/null; done
	@scripts/notebooks.sh '$(VENV)/notebooks/bin/python' '$(NOTEBOOKS_TEST)'
	@scripts/readers.sh '$(BIN)' '$(VENV)/notebooks/bin/python' --need datasets

lint: $(NEEDS_LIBTORCH) ## Formatting and lints; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets $(FEATURES) -- --deny warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --all-features check; else echo 'licences and advisories not checked: cargo-deny is not installed' >&2; fi

parity: $(NEEDS_LIBTORCH) ## Compare with PyTorch, scikit-learn, pycocotools, Pillow and pydicom, in a Python environment of their own
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/parity' pipelines/parity/requirements.txt
	$(CARGO) build --release --workspace $(FEATURES) --example parity --example decoded --example gradients \
		--bin ossify-phantom --bin ossify-ingest --bin ossify-resize --bin ossify-train --bin ossify-predict --bin ossify-evaluate
	@scripts/parity.sh '$(BIN)' '$(VENV)/parity/bin/python'

pipelines: $(NEEDS_LIBTORCH) ## Test the jobs for GitHub, GitLab, DVC, Ray, Slurm and Kubernetes, in a Python environment of their own
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/pipelines' pipelines/tests/requirements.txt
	$(CARGO) build --release --workspace $(FEATURES) $(patsubst %,--bin ossify-%,phantom ingest resize train predict evaluate)
	@scripts/pipelines.sh '$(BIN)' '$(VENV)/pipelines/bin/python'

bench: $(NEEDS_LIBTORCH) ## Time ours against the tools that people use, as ratios; DATASET= picks the data
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/bench' pipelines/bench/requirements.txt
	$(CARGO) build --release --workspace $(FEATURES) --bin ossify-ingest --bin ossify-resize --bin ossify-train --example speed --example decode_resize
	@'$(VENV)/bench/bin/python' pipelines/bench/bench.py '$(BIN)' '$(or $(DATASET),data/datasets/phantom)' '$(or $(OUT),data/work/bench)' $(ARGS)

SCALE := $(or $(OUT),data/work/scale)
scale: ## Measure what shares cost and gain, over 300,000 label files and 20,000 images that it draws
	$(CARGO) build --release --workspace $(FEATURES) --bin ossify-phantom --bin ossify-ingest --bin ossify-resize
	@'$(BIN)/ossify-phantom' --quiet --images 300000 --labels-only --dataset '$(SCALE)/labels' --out '$(SCALE)' >/dev/null
	@'$(BIN)/ossify-phantom' --quiet --images 20000 --dataset '$(SCALE)/images' --out '$(SCALE)' >/dev/null
	@'$(PYTHON)' pipelines/bench/scale.py '$(BIN)' '$(SCALE)/labels' '$(SCALE)/images' '$(SCALE)' $(ARGS)

clean: ## Remove build outputs and data/work; datasets, weights and libtorch stay
	$(CARGO) clean
	rm -rf data/work

# cargo takes half a second to find that there is nothing to build. The stamp, which lists what was built, says so in
# milliseconds; it is as old as the start of that build.
STAMP := $(BIN)/.built-$(BACKEND)
programs: $(if $(NETWORK_PROGRAMS),$(NEEDS_LIBTORCH))
	@set -e; \
	if [ -z '$(MISSING)' ] && [ -e '$(STAMP)' ] \
		&& [ -z "$$(find Cargo.toml Cargo.lock rust-toolchain.toml .cargo crates -type f -newer '$(STAMP)' -print -quit)" ] \
		&& ! printf '%s\n' $(PROGRAMS) | grep -qvxFf '$(STAMP)'; then exit 0; fi; \
	$(if $(MISSING),echo '$(ANNOUNCEMENT)' >&2;) \
	mkdir -p '$(BIN)'; rm -f '$(BIN)'/.built-*; printf '%s\n' $(PROGRAMS) >'$(BIN)/.building'; \
	$(CARGO) build $(if $(MISSING),,--quiet) --release --workspace $(PROGRAMS:%=--bin ossify-%) $(FEATURES); \
	mv '$(BIN)/.building' '$(STAMP)'

libtorch:
	@scripts/libtorch.sh
