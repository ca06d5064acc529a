# SPDX-License-Identifier: Apache-2.0
# A thin wrapper: Meson builds, tools/ holds what the targets do.
BUILD ?= build
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

all: build

build: programs
	meson compile -C $(BUILD)

# Without the tests.
programs: $(BUILD)/build.ninja
	meson compile -C $(BUILD) godwit godwitd godwit-manager godwit-flyway
	ln -sf src/cli/godwit src/host/godwitd src/manager/godwit-manager src/flyway/godwit-flyway $(BUILD)/

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run tools/setup build (needs root or sudo)" >&2; exit 1; }
	meson setup $(BUILD)

# A VM moves between two hosts, before your eyes. KEEP=1 leaves the lab running.
demo:
	tools/setup build lab
	$(MAKE) programs
	$(AS_ROOT) env KEEP=$(KEEP) tools/demo

# All tests. The last line is "N passed, N failed".
check:
	tools/setup build lab check
	$(AS_ROOT) tools/check $(ARGS)

# Branch coverage of flyway's unit tests, file by file. ARGS='--keep --missed session.c' tells what no test takes.
coverage:
	tools/setup build
	tools/coverage $(ARGS)

# Flyway's unit tests under ThreadSanitizer.
tsan:
	tools/setup build check
	tools/tsan $(ARGS)

# What moves cost beside virsh migrate: hours. ARGS='--repeat 1 --link 1gbit' for a first look;
# BENCH=moves or BENCH=cuts for the others. See bench/README.md.
BENCH ?= flyway
BENCH_FILES := $(if $(filter flyway,$(BENCH)),--json $(BUILD)/bench.json --markdown $(BUILD)/bench.md --svg $(BUILD)/bench.svg)
bench:
	tools/setup build lab
	$(MAKE) programs
	$(AS_ROOT) bench/$(BENCH) $(BENCH_FILES) $(ARGS)

install: build
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

.PHONY: all build programs demo check coverage tsan bench install clean
