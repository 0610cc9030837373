# make install | demo | test | notebooks | lint | bench | docs | figures | tables | model | lock | licences     needs Python >= 3.10; another one: make PY=python3.12 test
# On Windows, or without make: README.md gives the plain pip lines.
# A machine without an NVIDIA GPU: make TORCH=cpu install takes PyTorch's CPU wheels, without CUDA (docs/how_to.md)

PY ?= python3
VENV ?= .venv
TORCH ?=
CPU_WHEELS := $(if $(filter cpu,$(TORCH)),--extra-index-url https://download.pytorch.org/whl/cpu)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test notebooks lint bench docs figures tables model lock licences

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: Python 3.10 or newer is needed, $(PY) is older: make PY=python3.12 install" >&2; exit 2; }
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing into $(VENV): some minutes; pip shows what it downloads, then unpacks"
	@# without a terminal, pip shows nothing while it unpacks
	@[ -t 1 ] || { while sleep 30 >/dev/null 2>&1; do echo "installing: $$(du -sh $(VENV) | cut -f1) in $(VENV)"; done & trap "kill $$!" EXIT; }; \
	  $(BIN)/python -m pip install --constraint constraints.txt $(CPU_WHEELS) --editable ".[dev]"
	@touch $@

# Bytecode is kept, or each of the many processes that tests start would compile the package again.
test: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

notebooks: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tools notebooks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files | xargs $(BIN)/codespell
	$(BIN)/python -m tools links
	$(BIN)/python -m tools secrets
	$(BIN)/python -m tools vulnerabilities

# The bundled model answers on phantoms, is trained further on others, and both answers and scores can be opened: minutes on two cores
DEMO_RUN = "$$(ls -d demo/runs/joint/* | tail -n 1)"

demo: install demo/bundled/1/overlay.png demo/data/cvind.mat
	$(BIN)/python train_joint.py --config configs/demo.yaml
	$(BIN)/python infer.py demo/scans --joint $(DEMO_RUN) --out demo/results
	$(BIN)/bts evaluate --joint $(DEMO_RUN) --data figshare --root demo/scans --out demo/report
	@echo
	@echo "demo/bundled/*/overlay.png     twelve phantoms by the bundled model, which has not seen any phantom"
	@echo "demo/results/*/overlay.png     the same by the new model, which has not seen these twelve"
	@echo "demo/report/index.html         the report: every score on the twelve, worst masks, wrong classes; open it with"
	@echo "                               $(BIN)/python -m webbrowser file://$(CURDIR)/demo/report/index.html"
	@echo "demo/runs                      the curves: $(BIN)/tensorboard --logdir demo/runs"

demo/bundled/1/overlay.png: demo/scans/cvind.mat
	$(BIN)/python infer.py demo/scans --joint joint-mobilenetv2 --out demo/bundled
	@echo "demo/bundled/*/overlay.png: mask, class map and class of twelve phantoms by the bundled model; now it is trained further"

demo/data/cvind.mat: | install
	rm -rf demo/data
	$(BIN)/bts phantom demo/data --patients 48 --healthy 16 --slices 3 3 --seed 1 --side 256

demo/scans/cvind.mat: | install
	rm -rf demo/scans
	$(BIN)/bts phantom demo/scans --patients 9 --healthy 3 --slices 1 1 --seed 2

bench: install
	$(BIN)/python -m bench all

docs: $(VENV)/.documented
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "read it with: $(BIN)/python -m http.server --directory site"

$(VENV)/.documented: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

# What `bts app` needs, with the SHA-256 of every file, for `pip install --require-hashes`; versions as in constraints.txt
LOCKED := --extra app --extra onnx --extra openvino --extra dicom --python-version 3.11 --python-platform x86_64-manylinux_2_28

lock: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip compile setup.cfg $(LOCKED) --constraint constraints.txt --generate-hashes --no-annotate --no-emit-index-url \
	  --custom-compile-command "make lock" --quiet --output-file requirements/app.lock.txt

licences: $(VENV)/.documented
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ray,s3,weights]"
	$(BIN)/python -m tools licences --out docs/licences.md

# The picture of README.md and its scans in examples/: phantoms that the bundled model gets right and does not refer
figures: install demo/candidates/cvind.mat
	$(BIN)/python -m tools figure --joint joint-mobilenetv2 --data demo/candidates --count 4 --right --seed 2 --scans examples \
	  --out docs/images/phantoms.png

demo/candidates/cvind.mat: | install
	rm -rf demo/candidates
	$(BIN)/bts phantom demo/candidates --patients 30 --healthy 10 --slices 1 1 --seed 3 --side 256

# Tables of the documents: make tables RUNS="runs/crossval/joint" BENCHMARKS="runs/benchmark/brisc runs/benchmark/kaggle"
tables: install
	$(BIN)/python -m tools settings --out docs/settings.md
	$(BIN)/python -m tools alternatives --readme README.md
	$(BIN)/python -m tools readme
ifneq ($(RUNS)$(BENCHMARKS),)
	$(BIN)/python -m tools results $(RUNS) $(if $(BENCHMARKS),--benchmark $(BENCHMARKS)) --add
endif

# The model in the package, anew: hours on two cores. Without a network: make model WEIGHTS=FILE. With TCGA-LGG: make model LGG=FOLDER
WEIGHTS ?= imagenet
NEWEST = "$$(ls -d runs/model/joint/* | tail -n 1)"

model: install data/model/manifest.csv
	$(BIN)/python train_joint.py --config configs/model.yaml --model.weights $(WEIGHTS) --runs runs/model
	$(BIN)/python -m tools elsewhere joint-mobilenetv2=$(NEWEST) --manifest data/model/manifest.csv --held-out data/model/held_out.csv \
	  $(if $(LGG),--lgg $(LGG)) --out data/model/elsewhere.md
	$(if $(LGG),$(BIN)/python -m tools volumes $(NEWEST) --data lgg:$(LGG) --store $(NEWEST)/model)
	$(BIN)/python -m tools bundle $(NEWEST) --name joint-mobilenetv2 --elsewhere data/model/elsewhere.md --readme README.md

data/model/manifest.csv: | install
	$(BIN)/bts manifest figshare:data/figshare --healthy brisc:data/brisc kaggle=folders:data/kaggle/Training \
	  --tumours brisc:data/brisc kaggle=folders:data/kaggle/Training --hold-out 2 --out $@
