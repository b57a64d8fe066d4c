# Functions that the scripts share. This file is sourced. Each step prints a heading and its
# duration. The first failed step ends the script.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export GOWORK=off # a Go workspace of the developer must not change the result

command -v go >/dev/null || { echo 'Go must be on PATH. See https://go.dev/doc/install' >&2; exit 1; }

steps_passed=0

step() { # HEADING COMMAND…
  local heading=$1 begun=$SECONDS rc=0
  shift
  printf '\n=== %s\n' "$heading"
  # The command must not be in an `if` or before `||`: bash would then ignore failures within a
  # function.
  set +e
  (set -e; "$@")
  rc=$?
  set -e
  if [ "$rc" != 0 ]; then
    printf -- '--- FAILED after %d s: %s\n' $((SECONDS - begun)) "$heading"
    printf 'steps: %d passed, 1 failed\n' "$steps_passed"
    exit 1
  fi
  steps_passed=$((steps_passed + 1))
  printf -- '--- %d s\n' $((SECONDS - begun))
}

# Runs steps beside those that follow. finish_background prints their output.
start_background() { # FUNCTION
  background_output=$(mktemp)
  trap stop_background EXIT
  set -m # gives the steps a process group, so that stop_background can end all of it
  (
    steps_passed=0
    "$1"
    echo "$steps_passed" >"$background_output.passed"
  ) >"$background_output" 2>&1 </dev/null &
  background=$!
  set +m
}

finish_background() {
  local rc=0
  wait "$background" || rc=$?
  cat "$background_output"
  [ "$rc" = 0 ] || exit 1
  steps_passed=$((steps_passed + $(cat "$background_output.passed")))
}

stop_background() {
  kill -TERM -- "-$background" 2>/dev/null || true
  rm -f "$background_output" "$background_output.passed"
}

# Prints the directories of all Go modules except the root module and tools/, which only pins
# programs.
nested_modules() {
  local directory
  for directory in bench deploy; do
    [ ! -d "$root/$directory" ] || (cd "$root" && find "$directory" -name go.mod -not -path '*/node_modules/*' -exec dirname {} \;)
  done | sort
}

go_files() { find "$root" -name '*.go' -not -path '*/.git/*' -not -path '*/node_modules/*' -not -path '*/testdata/*' "$@"; }

check_gofmt() {
  local unformatted
  unformatted=$(go_files -print0 | xargs -0 gofmt -l)
  [ -z "$unformatted" ] || { printf 'these files are not formatted; run scripts/fmt:\n%s\n' "$unformatted"; return 1; }
}

check_tidy() { # MODULE-DIRECTORY
  cd "$root/$1"
  go mod tidy -diff || { echo "run go mod tidy in $1"; return 1; }
}

vet() { # MODULE-DIRECTORY
  cd "$root/$1"
  go vet ./...
}

golangci() { # MODULE-DIRECTORY
  cd "$root/$1"
  nice -n 5 "$root/scripts/golangci-lint" run --timeout 40m --config "$root/.golangci.yml" ./...
}

# Prints the commits that are not on the default branch. If that branch is unknown, prints the newest
# commit. A merge commit is left out, because GitHub writes its subject.
new_commits() {
  local branch range=-1
  for branch in origin/HEAD origin/main origin/master; do
    if git -C "$root" rev-parse --verify --quiet "$branch^{commit}" >/dev/null; then
      range=$branch..HEAD
      break
    fi
  done
  git -C "$root" log --no-merges --format='%h %s' "$range"
}

check_subjects() {
  local commit subject failed=0
  local LC_ALL=C.UTF-8 # counts characters, not bytes
  git -C "$root" rev-parse --verify --quiet HEAD >/dev/null 2>&1 || return 0 # not a Git repository
  while read -r commit subject; do
    if [ "${#subject}" -gt 72 ]; then
      printf 'the subject of commit %s must have at most 72 columns, but has %d:\n%s\n' \
        "$commit" "${#subject}" "$subject"
      failed=1
    fi
  done < <(new_commits)
  return "$failed"
}

# The checks of the sources that take seconds.
source_steps() {
  local module
  step 'commit subjects' check_subjects
  step 'gofmt' check_gofmt
  for module in . $(nested_modules); do
    step "go mod tidy -diff ($module)" check_tidy "$module"
  done
}

vet_steps() {
  local module
  for module in . $(nested_modules); do
    step "go vet ($module)" vet "$module"
  done
}

golangci_steps() {
  local module
  for module in . $(nested_modules); do
    step "golangci-lint ($module)" golangci "$module"
  done
}
