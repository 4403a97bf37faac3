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

# Only files whose hashes uv.lock has, and only wheels: a source distribution would run its own code here.
options="--quiet --disable-pip-version-check --requirement requirements.txt --require-hashes --no-deps
	--only-binary :all: --python-version 3.13 --implementation cp --abi cp313
	--platform manylinux2014_$machine --platform manylinux_2_17_$machine
	--platform manylinux_2_28_$machine --platform manylinux_2_34_$machine"

# Kept beside SAM's own caches, so that only new requirements ask a package index. One folder for each function, as
# `sam build --parallel` makes both at the same time.
wheels=${ARTIFACTS_DIR%/*/*}/wheels/${ARTIFACTS_DIR##*/}

# The user's settings for pip (index, proxy, certificates) count for the download only. The installation reads none, so
# that whatever they have brought here, nothing but the named files gets into the artifact.
download() { PIP_REQUIRE_VIRTUALENV=0 "$python" -EPm pip download $options --dest "$wheels"; }
install() {
	PIP_CONFIG_FILE=/dev/null "$python" -EPm pip install --isolated $options --no-compile --target "$ARTIFACTS_DIR" \
		--no-index --find-links "$wheels"
}
if ! install 2>/dev/null; then
	rm -rf "$wheels" && mkdir -p "$wheels"
	download
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
