# A short face for Meson. BUILD is the build folder.
BUILD ?= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

check:
	./check

bench: all
	bench/bench

arm64:
	.ci/arm64

fuzz:
	CC=clang .ci/build build-fuzz all -Dfuzz=true -Dtests=disabled -Db_sanitize=address,undefined -Db_lundef=false
	fuzz/soak --seconds 60

soak: all
	CC=clang .ci/build build-fuzz all -Dfuzz=true -Dtests=disabled -Db_sanitize=address,undefined -Db_lundef=false
	fuzz/soak
	INGLE_SOURCE=$(CURDIR) INGLE_DATA=$(CURDIR)/tests/data INGLE_BUILD=$(abspath $(BUILD)) tests/api/test_hard.py --soak 600

docs: all
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

.PHONY: all check arm64 bench fuzz soak docs format package install clean
