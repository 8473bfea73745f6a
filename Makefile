# A short face for Meson. BUILD is the build folder.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

check:
	./check

# ARGS=--quick: six minutes; bench/bench --help tells the rest.
bench: all
	ninja -C $(BUILD) bench/make_model bench/limits bench/bench_grammar
	INGLE_BUILD=$(abspath $(BUILD)) bench/bench $(ARGS)

arm64:
	.ci/arm64

fuzz:
	CC=clang .ci/build build-fuzz all -Dfuzz=true -Dtests=disabled -Db_sanitize=address,undefined -Db_lundef=false
	fuzz/soak --seconds 60

soak: all
	CC=clang .ci/build build-fuzz all -Dfuzz=true -Dtests=disabled -Db_sanitize=address,undefined -Db_lundef=false
	fuzz/soak
	INGLE_SOURCE=$(CURDIR) INGLE_DATA=$(CURDIR)/tests/data INGLE_BUILD=$(abspath $(BUILD)) tests/api/test_hard.py --soak 600

# An administrator, a directory, a web server and a laptop on loopback, step by step. Needs slapd, ldap-utils and nginx.
workplace-demo: all
	@INGLE_BUILD=$(abspath $(BUILD)) INGLE_DATA=$(CURDIR)/tests/data tests/api/test_workplace.py --demo

docs: all
	for page in performance performance-amx; do bench/bench --from docs/$$page.csv --docs >$(BUILD)/$$page.txt || exit 1; done
	ninja -C $(BUILD) tests/test_models_doc
	$(BUILD)/tests/test_models_doc --print > docs/models.md.new && mv docs/models.md.new docs/models.md
	INGLE_SOURCE=$(CURDIR) INGLE_DATA=$(CURDIR)/tests/data INGLE_BUILD=$(abspath $(BUILD)) tests/api/test_clients.py --print \
		> docs/conformance.md.new && mv docs/conformance.md.new docs/conformance.md

format:
	git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

package:
	packaging/deb/build

install: all
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) build-clang build-asan build-tsan build-arm64

.PHONY: all check arm64 bench fuzz soak workplace-demo docs format package install clean
