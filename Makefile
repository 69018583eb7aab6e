# make help lists the targets. Everything runs inside .venv, which `make venv` creates from Python 3.11 and pinned versions.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH  ?= torch==2.13.0
BIN    := .venv/bin
C      := -c constraints-cpu.txt
export PIP_DISABLE_PIP_VERSION_CHECK=1

.DEFAULT_GOAL := help
.PHONY: help venv dev demo test export check-notebooks notebooks notebooks-ja pytest dataset scoreboard report-pdf first-hour readme site translations site-report diagrams serve lab clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: .venv/.cpu ## create .venv with the pinned CPU environment

.venv/.cpu: constraints-cpu.txt settings.ini setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3,11) <= v <= (3,13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'PyTorch goes into .venv: a minute to ten, as fast as the network is'
	@$(BIN)/pip install -q $(TORCH)
	@echo 'the course and its libraries go into .venv: a minute to five'
	@$(BIN)/pip install -q -e '.[cpu]' $(C)
	@touch $@

dev: .venv/.dev ## the same environment with the tools for tests and docs

.venv/.dev: .venv/.cpu
	@echo 'the tools for tests and docs go into .venv: a minute to five'
	@$(BIN)/pip install -q -e '.[cpu,dev,docs]' $(C)
	@touch $@

demo: venv ## from the report to a fine-tuned, evaluated model: runs/demo/report.html
	@echo 'a whole run takes about ten minutes on two quiet cores; after Ctrl-C, make demo goes on with it'
	@$(BIN)/climate-ft run --profile cpu --out runs/demo
	@echo 'Ask it for what the report says: $(BIN)/climate-ft ask "干渉SARとはどのような手法ですか。" --out runs/demo'

test: check-notebooks pytest ## exported code in step with the notebooks, every notebook as on Colab, a whole tiny run, the site in a browser

check-notebooks: dev ## export and clean leave no difference
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	git diff --exit-code --stat -- nbs climate_ft README.md

notebooks-ja: dev ## nbs/ja/, the notebooks in Japanese, from the English ones and their catalogues
	$(BIN)/python scripts/build_ja_notebooks.py

notebooks: dev ## execute every notebook in place of the tests (nbdev_test)
	CLIMATE_FT_PROFILE=tiny $(BIN)/nbdev_test --n_workers 2 --do_print

pytest: dev
	@echo 'all tests take twenty minutes to forty on two quiet cores'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile -rs --durations 30 tests

export: dev ## notebooks -> climate_ft/, formatted, checked by ruff, and cleaned
	$(BIN)/python scripts/insert_setup_cell.py
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q .
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python scripts/build_ja_notebooks.py

dataset: dev ## rebuild the committed extraction, corpus and dataset of the report
	$(BIN)/climate-ft extract documents/document_01.pdf
	$(BIN)/climate-ft clean
	$(BIN)/climate-ft corpus
	$(BIN)/climate-ft dataset

scoreboard: dev ## score the extractors on every rendering and on drawn kinds of page; writes results/scoreboard*.json
	$(BIN)/python scripts/scoreboard.py
	$(BIN)/python scripts/scoreboard_kinds.py

first-hour: dev ## run the first lesson in full with Gemma and time its cells; writes results/first_hour.json
	OMP_NUM_THREADS=2 $(BIN)/python scripts/first_hour.py

readme: dev ## README.md from nbs/index.ipynb
	$(BIN)/python scripts/build_readme.py

site: dev ## the course as a site, in English and in Japanese: _site/index.html, _site/ja/index.html
	$(BIN)/python site/bridge.py
	$(BIN)/sphinx-build -q -W --keep-going -d _myst/.doctrees -c site _myst _site
	$(BIN)/sphinx-build -q -W --keep-going -t ja -d _myst/.doctrees-ja -c site _myst _site/ja

translations: dev ## the Japanese catalogues in step with the English: make translations PAGE=02_extract
	$(BIN)/python site/bridge.py --stage-only
	$(BIN)/python site/translate.py $(PAGE)
	$(BIN)/python scripts/build_ja_notebooks.py

site-report: site ## load every page in Chromium: results/site_pages.json
	cd site && npm ci --silent --omit=dev
	$(BIN)/python site/check.py

diagrams: dev ## draw the diagrams that changed (needs Chromium and npm)
	cd site && npm ci --silent
	$(BIN)/python site/draw.py

serve: site ## the site at http://localhost:8000
	$(BIN)/python -m http.server -d _site 8000

lab: dev ## JupyterLab at the index
	$(BIN)/pip install -q -e '.[cpu,dev,docs,lab]' $(C)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/nbs/index.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

clean: ## remove what running creates (not the environment, not what git tracks)
	rm -rf runs models logs _proc _docs _myst _site

report-pdf: dev ## rebuild the report, its gold text and the test bed (needs the BIZ UD and IPAex fonts and Chromium)
	$(BIN)/python scripts/build_report.py
