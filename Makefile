# make reports   set up, run the sample profile, leave reports/sample/index.html
# make test      set up, run the fast tests        make slow   run the slow ones too
# make lab       set up, open JupyterLab on the notebooks
# make check     style of the code and the notebooks

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROFILE ?= sample

.PHONY: reports test slow lab check clean

reports: .venv/ready
	.venv/bin/gccpm reproduce --profile $(PROFILE)

test: .venv/ready check
	.venv/bin/python -m pytest -n 2 --dist loadfile

slow: .venv/ready
	.venv/bin/python -m pytest -m "slow or not slow"

lab: .venv/ready
	.venv/bin/jupyter lab notebooks

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/nbstripout --verify notebooks/*.ipynb

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	.venv/bin/python -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache .hypothesis
