# The targets for users and developers; `make help` lists them. This file builds the programs that
# the targets need, in one go, and calls them in order.

CONF ?= conf/demo.toml
DATASET ?=
OUT ?=
ARGS ?=
# libtorch, or flex: slower pure Rust with nothing to install.
BACKEND ?= libtorch
VENV ?= data/venv

CARGO ?= cargo
PYTHON ?= python3
BIN := $(or $(CARGO_TARGET_DIR),target)/release
GOALS := $(or $(MAKECMDGOALS),help)

.DEFAULT_GOAL := help
.PHONY: help ingest resize train predict evaluate query prune notebooks dataset demo-data test \
	test-flex lint lint-flex sanitizers parity pipelines bench scale clean programs libtorch
MAKEFLAGS += --no-print-directory
# Idle GNU OpenMP threads spin, by default long enough to starve everything else.
export GOMP_SPINCOUNT ?= 2000
# Stages depend on each other, and each uses all processors.
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

# The programs that the goals need, so that nothing else is compiled.
needs = $(if $(filter $(1),$(GOALS)),$(2))
STAGES := $(call needs,ingest resize train predict evaluate notebooks,ingest) \
	$(call needs,resize train predict evaluate,resize) \
	$(call needs,train predict evaluate,train) \
	$(call needs,predict evaluate,predict) \
	$(call needs,evaluate,evaluate)
# The demo's pictures are drawn if no other dataset is named.
IS_DEMO := $(if $(DATASET)$(OSSIFY__DATASET__PATH),,$(shell \
	grep -qs '^path *= *"data/datasets/phantom"' $(CONF) && echo yes))
NEEDS_PHANTOM := $(if $(strip $(STAGES)),$(IS_DEMO))$(filter demo-data,$(GOALS))
PROGRAMS := $(strip $(if $(NEEDS_PHANTOM),phantom) $(STAGES) \
	$(call needs,query,query) $(call needs,prune,prune) $(call needs,dataset,download))
NETWORK_PROGRAMS := $(filter train predict,$(PROGRAMS))
is_missing = $(if $(wildcard $(BIN)/ossify-$(1)),,$(1))
MISSING := $(strip $(foreach program,$(PROGRAMS),$(call is_missing,$(program))))
# Compilation times on two processors, for the announcement.
PATIENCE := $(if $(filter query,$(MISSING)),10 to 25 minutes,$(if \
	$(filter train predict,$(MISSING)),10 to 20 minutes,3 to 6 minutes))

ANNOUNCEMENT := compiling $(PROGRAMS:%=ossify-%), once: $(PATIENCE) on two processors

WHERE := --config $(CONF) $(if $(DATASET),--dataset '$(DATASET)') $(if $(OUT),--out '$(OUT)')
# Extra flags only go to the stages that were named, not to those that they need.
flags = $(WHERE) $(if $(filter $(1),$(GOALS)),$(ARGS))

help: ## This list
	@echo 'make TARGET... [CONF=FILE] [DATASET=DIR] [OUT=DIR] [ARGS="flags"] [BACKEND=libtorch|flex]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14
	@echo
	@echo '  make ingest train evaluate is the main job. CONF is conf/demo.toml by default, a demo on'
	@echo '  images that ossify draws. ARGS goes to the targets that you name; keys for all stages go'
	@echo '  into the environment: OSSIFY__TRAIN__EPOCHS=5 make evaluate'

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

prune: programs ## List what OUT in an object store no longer needs; ARGS=--remove removes it
	@$(BIN)/ossify-prune $(call flags,prune)

notebooks: ingest ## Run the example scripts for DuckDB, pandas, polars and pyarrow over the tables
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/notebooks' pipelines/notebooks/requirements.txt
	@scripts/notebooks.sh '$(VENV)/notebooks/bin/python' \
		'$(or $(OUT),data/work/$(basename $(notdir $(CONF))))'

dataset: programs ## Fetch BoneFractureYolo8 with your Kaggle key
	@$(BIN)/ossify-download dataset $(ARGS)

demo-data: programs ## Draw the demo's synthetic radiographs
	@$(BIN)/ossify-phantom --config $(CONF) $(if $(filter demo-data,$(GOALS)),$(ARGS)) >/dev/null

# Any other build may replace the programs that a stamp lists by checked programs or by programs
# without libtorch. So every build except that of `programs` removes the stamps.
build = rm -f '$(BIN)'/.built-*; $(CARGO) build --workspace
with_programs = $(patsubst %,--bin ossify-%,$(1))
MAIN_PROGRAMS := phantom ingest resize train predict evaluate

# `--force`, because the version of a stage does not change with every build.
NOTEBOOKS_TEST := data/work/notebooks-test
notebooks_test = '$(BIN)'/ossify-$(1) --quiet --force --config conf/demo.toml \
	--dataset '$(NOTEBOOKS_TEST)/dataset' --out '$(NOTEBOOKS_TEST)' >/dev/null
test: $(NEEDS_LIBTORCH) ## All tests, with debug assertions and overflow checks
	@echo 'building everything and its tests: about 25 minutes on two processors, once' >&2
	$(build) --profile bench --all-targets $(FEATURES)
	$(CARGO) test --profile bench --workspace --no-fail-fast $(FEATURES)
	@if [ -x '$(VENV)/parity/bin/python' ]; then \
		scripts/parity.sh '$(BIN)' '$(VENV)/parity/bin/python'; \
	else \
		echo 'not compared with PyTorch and other tools; make parity installs and runs that' >&2; \
	fi
	@if [ -x '$(VENV)/pipelines/bin/python' ]; then \
		scripts/pipelines.sh '$(BIN)' '$(VENV)/pipelines/bin/python'; \
	else \
		echo 'pipelines/ not tested; make pipelines installs what that needs and runs it' >&2; \
	fi
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/notebooks' \
		pipelines/notebooks/requirements.txt
	@$(call notebooks_test,phantom --images 60)
	@$(call notebooks_test,ingest --set ingest.min_objects_per_class=4)
	@$(call notebooks_test,resize)
	@scripts/notebooks.sh '$(VENV)/notebooks/bin/python' '$(NOTEBOOKS_TEST)'
	@scripts/readers.sh '$(BIN)' '$(VENV)/notebooks/bin/python' --need datasets

# Only the crates that depend on Burn differ without libtorch.
NETWORK_CRATES := model torch-kernels train predict
NETWORK_TESTS := $(sort pipeline \
	$(basename $(notdir $(wildcard $(NETWORK_CRATES:%=crates/%/tests/*.rs)))))
test-flex: ## The tests where the backend matters, without libtorch
	$(build) --profile bench --no-default-features $(call with_programs,$(MAIN_PROGRAMS))
	$(CARGO) test --profile bench --workspace --no-fail-fast --no-default-features \
		$(NETWORK_TESTS:%=--test %)

sanitizers: $(NEEDS_LIBTORCH) ## The tests of the C++ kernels under sanitizers for memory and UB
	@CARGO='$(CARGO)' scripts/sanitizers.sh

CLIPPY := $(CARGO) clippy --release --workspace --all-targets
lint: $(NEEDS_LIBTORCH) ## Formats, lints, licences and advisories; warnings are errors
	$(CARGO) fmt --all --check
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/lint' scripts/lint-requirements.txt
	'$(VENV)/lint/bin/ruff' format --check --quiet .
	'$(VENV)/lint/bin/ruff' check --quiet .
	'$(VENV)/lint/bin/clang-format' --dry-run --Werror crates/torch-kernels/src/shim/*.cpp \
		crates/torch-kernels/src/shim/*.h
	$(CLIPPY) $(FEATURES) -- --deny warnings
	@CARGO='$(CARGO)' scripts/deny.sh

lint-flex: ## The lints of the crates as they are without libtorch
	$(CLIPPY) --no-default-features -- --deny warnings

parity: $(NEEDS_LIBTORCH) ## Compare with PyTorch, scikit-learn, pycocotools, Pillow and pydicom
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/parity' pipelines/parity/requirements.txt
	$(build) --release $(FEATURES) $(call with_programs,$(MAIN_PROGRAMS)) \
		--example parity --example decoded --example gradients --example detector
	@scripts/parity.sh '$(BIN)' '$(VENV)/parity/bin/python'

pipelines: $(NEEDS_LIBTORCH) ## Test the jobs for GitHub, GitLab, DVC, Ray, Slurm and Kubernetes
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/pipelines' pipelines/tests/requirements.txt
	$(build) --release $(FEATURES) $(call with_programs,$(MAIN_PROGRAMS))
	@scripts/pipelines.sh '$(BIN)' '$(VENV)/pipelines/bin/python'

bench: $(NEEDS_LIBTORCH) ## Time ours against other tools, as ratios; DATASET= picks the data
	@PYTHON='$(PYTHON)' scripts/python_env.sh '$(VENV)/bench' pipelines/bench/requirements.txt
	$(build) --release $(FEATURES) $(call with_programs,ingest resize train) \
		--example speed --example decode_resize
	@'$(VENV)/bench/bin/python' pipelines/bench/bench.py '$(BIN)' \
		'$(or $(DATASET),data/datasets/phantom)' '$(or $(OUT),data/work/bench)' $(ARGS)

SCALE := $(or $(OUT),data/work/scale)
scale_images = '$(BIN)/ossify-phantom' --quiet --images $(1) --dataset '$(SCALE)/$(2)' \
	--out '$(SCALE)' $(3) >/dev/null
scale: ## Measure what shares cost and gain, over 300,000 label files and 20,000 images
	$(build) --release $(FEATURES) $(call with_programs,phantom ingest resize)
	@$(call scale_images,300000,labels,--labels-only)
	@$(call scale_images,20000,images)
	@'$(PYTHON)' pipelines/bench/scale.py '$(BIN)' '$(SCALE)/labels' '$(SCALE)/images' \
		'$(SCALE)' $(ARGS)

clean: ## Remove build outputs and data/work; datasets, weights and libtorch stay
	$(CARGO) clean
	rm -rf data/work

# cargo takes half a second to find that there is nothing to build. The stamp, which lists the built
# programs, makes that unnecessary. Its time is that of the start of the build.
STAMP := $(BIN)/.built-$(BACKEND)
SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml .cargo crates
programs: $(if $(NETWORK_PROGRAMS),$(NEEDS_LIBTORCH))
	@set -e; \
	if [ -z '$(MISSING)' ] && [ -e '$(STAMP)' ] \
		&& [ -z "$$(find $(SOURCES) -type f -newer '$(STAMP)' -print -quit)" ] \
		&& ! printf '%s\n' $(PROGRAMS) | grep -qvxFf '$(STAMP)'; then exit 0; fi; \
	$(if $(MISSING),echo '$(ANNOUNCEMENT)' >&2;) \
	mkdir -p '$(BIN)'; rm -f '$(BIN)'/.built-*; printf '%s\n' $(PROGRAMS) >'$(BIN)/.building'; \
	$(CARGO) build $(if $(MISSING),,--quiet) --release --workspace $(FEATURES) \
		$(call with_programs,$(PROGRAMS)); \
	mv '$(BIN)/.building' '$(STAMP)'

libtorch:
	@scripts/libtorch.sh
