#!/bin/sh
# What `sam build` runs, by the makefile of the architecture that template.yaml chooses (ContextPath). SAM's own Python
# builder leaves byte code out, and Lambda's disk takes none: each start would compile all that it imports.
# Runs in a copy of functions/, fills ARTIFACTS_DIR.
set -eu
machine=$1 # as wheels name it

# Any on PATH, as SAM itself would take. PYENV_VERSION: for pyenv's shims, which find no .python-version in the copy.
export PYENV_VERSION=3.13
python=$(
	IFS=:
	for folder in $PATH; do
		for python in "$folder/python3.13" "$folder/python3" "$folder/python"; do
			"$python" -EPc 'import pip, sys; sys.exit(sys.implementation.cache_tag != "cpython-313")' 2>/dev/null &&
				echo "$python" && exit
		done
	done
	echo "no Python 3.13 with pip on PATH (make deploy brings its own)" >&2
	exit 1
)

# A user may have set these in pip's configuration; they are for environments, and this is none.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
pip() {
	command=$1 && shift
	"$python" -EPm pip "$command" --quiet --disable-pip-version-check --requirement requirements.txt --no-deps \
		--only-binary :all: --python-version 3.13 --implementation cp --abi cp313 \
		--platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine" \
		--platform "manylinux_2_28_$machine" --platform "manylinux_2_34_$machine" "$@"
}

# Kept beside SAM's own caches, so that only new requirements ask a package index. One folder for each function, as
# `sam build --parallel` makes both at the same time.
wheels=${ARTIFACTS_DIR%/*/*}/wheels/${ARTIFACTS_DIR##*/}
install() { pip install --no-index --find-links "$wheels" --no-compile --target "$ARTIFACTS_DIR"; }
mkdir -p "$wheels"
if ! install 2>/dev/null; then
	pip download --dest "$wheels"
	install
fi

# Never imported: of Powertools all but Logger and Metrics (and jmespath_utils, which they import), and what cffi builds
# extensions with. It is a third of the zip. Whoever imports one of these takes it off this line.
(cd "$ARTIFACTS_DIR" && rm -r aws_lambda_powertools/event_handler aws_lambda_powertools/utilities/[!_j]* cffi pycparser* bin)

cp -R . "$ARTIFACTS_DIR"
rm -r "$ARTIFACTS_DIR/bundle"
find "$ARTIFACTS_DIR" -mindepth 1 \( -name '.*' -o -name __pycache__ \) -prune -exec rm -r {} +

# Unchecked: neither the zip nor Lambda keeps the times that Python would compare. The paths are those in Lambda.
"$python" -Im compileall -q --invalidation-mode unchecked-hash -s "$ARTIFACTS_DIR" -p /var/task "$ARTIFACTS_DIR"
