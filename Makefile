# make reports   set up, run the sample profile; where git has reports/sample, its report is runs/sample/report/index.html
# make test      set up, run the fast tests        make slow   run the slow ones too
# make lab       set up, open JupyterLab on the notebooks
# make check     style of the code and the notebooks
# make lock      requirements.txt again from pyproject.toml (UPGRADE=--upgrade: with the newest versions)
# Without make, on Windows for instance: notebooks/guide/install.md.

PYTHON ?= $(shell for version in 3.11 3.12 3.13; do python$$version -c "" 2>/dev/null && echo python$$version && break; done || echo python3)
PROFILE ?= sample
UPGRADE ?=

.PHONY: reports test slow lab check lock clean

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

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	.venv/bin/python -m pip install --quiet --no-deps -e .
	.venv/bin/jupyter server extension enable --sys-prefix gccpm_lib.report.autosave >/dev/null 2>&1
	touch $@

# uv, because its lock holds for every supported Python and system at once. It keeps the versions that the file has.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --extra dev $(UPGRADE) \
		--custom-compile-command "make lock" --output-file requirements.txt pyproject.toml
	rm -rf .venv-lock

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache .hypothesis
