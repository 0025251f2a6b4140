# Three commands a newcomer needs: make demo, make test, make check. Everything installs into .venv.

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync

.PHONY: demo test test-all check format bench docs tutorials gallery clean

demo: .venv/ready
	$(RUN) tangentlens demo

test: .venv/ready
	$(RUN) pytest

# also what takes minutes, and 3,000 drawn models instead of 200
test-all: .venv/ready
	TANGENTLENS_MODELS=3000 $(RUN) pytest -m ""

check: .venv/ready
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

format: .venv/ready
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

bench: .venv/ready
	$(RUN) python benchmarks/quadratic_mlp.py
	$(RUN) python benchmarks/transformer_kernels.py --inputs 210
	$(RUN) python benchmarks/warm_start.py
	$(RUN) python benchmarks/transformer_full_size.py

# the documentation as a site, in site/
docs: .venv/ready
	$(UV) run --frozen --all-extras --group docs mkdocs build --strict --quiet

# docs/tutorials/*.ipynb from their sources, with outputs; docs/images/digits.png from the run of the first
tutorials: .venv/ready
	cd docs/tutorials && for source in *.py; do rm -rf runs; \
	  PYTHONWARNINGS=ignore:IProgress OMP_NUM_THREADS=1 PLOTLY_RENDERER=svg $(abspath $(UV)) run --frozen --no-sync jupytext --to ipynb --set-kernel python3 --execute $$source || exit 1; \
	  test $$source != digits.py || { $(abspath $(UV)) run --frozen --no-sync tangentlens report runs/digits --quiet --figures png && \
	  mkdir -p ../images && cp runs/digits/figures/features.png ../images/digits.png; } || exit 1; done

# docs/gallery/: a page for each setting, from the runs in runs/gallery; those that are missing are made first
GALLERY := $(patsubst docs/gallery/%.toml,runs/gallery/%,$(wildcard docs/gallery/*.toml))
gallery: .venv/ready $(GALLERY)
	$(RUN) tangentlens gallery $(GALLERY) --out docs/gallery

runs/gallery/%: | .venv/ready
	$(RUN) tangentlens run docs/gallery/$*.toml --out $@

# --compile-bytecode: importing torch without it takes seconds longer where bytecode cannot be cached
.venv/ready: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --all-extras --compile-bytecode
	touch $@

.uv/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --target .uv "uv>=0.9"

clean:
	rm -rf .venv .uv
