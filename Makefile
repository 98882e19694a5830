# thinmesh: one Makefile for everything, plain GNU make and pkg-config. `make help` tells the targets.
#
# Out of tree: all that is made lies below $(BUILD). The folders of the source tree are the floors of the house
# (docs/internals.md); a new .c file in one of them is found by itself. All but sidecar/main.c goes into one archive, which the
# daemon, the tests and the fuzz targets link, so that they all run the very same objects.
#
# Variables for people: T=word (only matching tests), SEED=n, WERROR= (warnings stay warnings), LTO=1, OPT=-O0, BUILD=folder,
# CC=clang-14, DESTDIR=, PREFIX=, J=n (test programs at once), FLOORS='base net' (only a part of the house).

VERSION := 0.1.0

CC     := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
CLANG  ?= clang-14
BUILD  ?= build
PREFIX ?= /usr
OPT    ?= -O2 -g
WERROR ?= -Werror
LTO    ?=
SAN    ?=
COV    ?=
T      ?=
KIND   ?=
SEED   ?= 1
J      ?= 2
PYTHON ?= /usr/bin/python3
PKG_CONFIG ?= pkg-config

comma := ,
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- what there is -------------------------------------------------------------------------------------------------------

FLOORS := base net systemd conf lb health xds uds sidecar
SRC    := $(sort $(wildcard $(FLOORS:%=%/*.c)))
MAIN   := sidecar/main.c
obj     = $(1:%.c=$(BUILD)/obj/%.o)

# Messages of the control plane: protoc-c makes C of xds/proto/*.proto, below the build folder. Included as "xds/proto/x.pb-c.h".
PROTO  := $(if $(filter xds,$(FLOORS)),$(sort $(wildcard xds/proto/*.proto)))
PB_OBJ := $(PROTO:%.proto=$(BUILD)/obj/%.pb-c.o)
PB_H   := $(PROTO:%.proto=$(BUILD)/gen/%.pb-c.h)

LIB_SRC := $(filter-out $(MAIN),$(SRC))
LIB     := $(BUILD)/libthinmesh.a
DAEMON  := $(BUILD)/thinmesh

# A unit test program is tests/FLOOR/test_*.c; what else lies in that folder helps all of its programs, and
# so does tests/sim/simnet*.c, the network and the clock in memory, for tests/xds the control plane, the SDS server and the CA of the flow tests, for tests/lb and
# tests/health the certificates of tests/net.
UNIT_SRC := $(sort $(wildcard $(FLOORS:%=tests/%/test_*.c)))
FLOW_SRC := $(sort $(wildcard tests/flow/test_*.c))
FLOW_HELP := $(filter-out $(FLOW_SRC),$(sort $(wildcard tests/flow/*.c)))
SIM_SRC  := $(sort $(wildcard tests/sim/*.c))
SIM_HELP := $(filter-out tests/sim/sim_main.c,$(SIM_SRC))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))

UNIT := $(UNIT_SRC:tests/%.c=$(BUILD)/tests/unit/%)
FLOW := $(FLOW_SRC:tests/flow/%.c=$(BUILD)/tests/flow/%)
PLANE := $(if $(filter xds,$(FLOORS)),$(BUILD)/tests/plane)
SIM  := $(if $(wildcard tests/sim/sim_main.c),$(BUILD)/tests/sim)
FUZZ := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/tests/fuzz/%)
FUZZ_CLANG := $(FUZZ_SRC:tests/fuzz/%.c=build/fuzz/%)
PROGRAMS := $(UNIT) $(FLOW) $(FUZZ)

# T=word builds only the programs whose name has the word; where none has, all are built and tests/run looks for test names.
PICKED := $(if $(T),$(strip $(foreach p,$(PROGRAMS) $(SIM),$(if $(findstring $(T),$(p:$(BUILD)/%=%)),$(p)))))
WANTED := $(if $(PICKED),$(PICKED),$(PROGRAMS) $(SIM))

# ---- libraries -----------------------------------------------------------------------------------------------------------

# A library is asked for only once a source includes it: a row costs nothing before its floor is built.
uses = $(if $(SRC),$(shell grep -lsE '^[[:space:]]*\#[[:space:]]*include <($(1))' $(SRC) $(wildcard $(FLOORS:%=%/*.h)) | head -n1))
PKGS := $(if $(call uses,event2/),libevent_core) \
	$(if $(call uses,nghttp2/),libnghttp2) \
	$(if $(call uses,ares),libcares) \
	$(if $(call uses,xxhash),libxxhash) \
	$(if $(call uses,yaml\.h),yaml-0.1) \
	$(if $(call uses,pcre2\.h),libpcre2-8) \
	$(if $(call uses,zlib\.h),zlib) \
	$(if $(call uses,openssl/),openssl) \
	$(if $(PROTO)$(call uses,protobuf-c/),libprotobuf-c)
PKGS := $(strip $(PKGS))
LIBS_MISSING := $(strip $(foreach p,$(PKGS),$(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null || echo $(p))))
PKG_CFLAGS := $(if $(PKGS),$(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null))
PKG_LIBS   := $(if $(PKGS),$(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null))
CHECK_CFLAGS = $(shell $(PKG_CONFIG) --cflags check 2>/dev/null)
CHECK_LIBS   = $(shell $(PKG_CONFIG) --libs check 2>/dev/null)

# ---- flags ---------------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith $(WERROR)

# No -ftrivial-auto-var-init=zero: it clears the scratch arrays of the hot path, which costs more than it protects.
# Sanitizers replace FORTIFY (they see the same errors, and the two disagree about interceptors).
CET    := $(if $(filter x86_64,$(shell uname -m)),-fcf-protection=full)
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection $(CET) \
	$(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
# The shadow-stack mark is set by hand: Debian's crt1.o lacks the note although it calls and returns in pairs, and one object
# without it would unmark the daemon. Its _start has no endbr64, so the IBT mark would be a lie; our own code has them.
CET_LD := $(if $(CET),$(comma)-z$(comma)shstk)
# What a PIE has to relocate at its start is a table of 104 KiB, read once and then mapped for nothing; packed it is one of 10 (glibc 2.36 is the first that reads it).
RELR := $(if $(CET),$(shell printf '\043include <features.h>\n\043if __GLIBC_PREREQ(2, 36)\nyes\n\043endif\n' | $(CC) -E -P -x c - 2>/dev/null | grep -qx yes && echo $(comma)-z$(comma)pack-relative-relocs))
HARDEN_LD := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code$(CET_LD)$(RELR)

SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
COV_FLAGS := $(if $(COV),--coverage -fprofile-update=atomic)
LTO_FLAGS := $(if $(LTO),-flto=auto -fno-fat-lto-objects)
AR        := $(if $(LTO),gcc-ar,ar)
BUILD_TEXT := $(CC) $(OPT)$(if $(LTO), lto)$(if $(SAN), $(SAN))$(if $(COV), coverage)

# An empty _GNU_SOURCE agrees with a file that defines it itself. -iquote: "net/stream.h" is ours, <net/if.h> is libc's.
TM_CPPFLAGS := -D_GNU_SOURCE= -iquote .$(if $(PROTO), -iquote $(BUILD)/gen) -DTM_VERSION='"$(VERSION)"' -DTM_BUILD='"$(BUILD_TEXT)"' $(CPPFLAGS)
TM_CFLAGS   := -std=gnu11 $(OPT) $(WARN) $(HARDEN) -ffunction-sections -fdata-sections -fno-common -fno-plt \
	$(SAN_FLAGS) $(COV_FLAGS) $(LTO_FLAGS) $(PKG_CFLAGS) $(CFLAGS)
TM_LDFLAGS  := $(HARDEN_LD) -Wl,--gc-sections -Wl,--as-needed -Wl,-O1 -Wl,--hash-style=gnu $(SAN_FLAGS) $(COV_FLAGS) \
	$(if $(LTO),$(LTO_FLAGS) $(OPT)) $(LDFLAGS)
# libcheck's suite() and a fuzz entry have no header of ours in every test; a test's own fixtures may be extern.
TEST_CFLAGS := -Wno-missing-prototypes $(CHECK_CFLAGS)
# tests/main.c stands in front of libcheck's registration, which is how T= reaches single tests.
TEST_LDFLAGS := -Wl,--wrap=_tcase_add_test

# ---- building ------------------------------------------------------------------------------------------------------------

.PHONY: all lib plane tests FORCE
all: $(DAEMON)  ## build the daemon: build/thinmesh
	@:

lib: $(LIB)
	@:

plane: $(PLANE)
	@:

tests: $(PROGRAMS) $(SIM) $(PLANE)  ## build all test programs, run none
	@:

# Each line is kept in a file that changes only if the line does: whoever was made with other flags, or of other objects, is made again.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	$(if $(LIBS_MISSING),@tools/deps --missing build >&2 || :; echo "make: pkg-config does not know: $(LIBS_MISSING)" >&2; exit 1)
	@printf '%s\n' '$(subst ','\'',$(CC) $(TM_CPPFLAGS) $(TM_CFLAGS) | $(TM_LDFLAGS) $(PKG_LIBS))' > $@.new
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@

$(BUILD)/objects: FORCE
	@mkdir -p $(BUILD)
	@printf '%s\n' '$(LIB_SRC) $(PROTO)' > $@.new
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@

# One run a file makes both; what the objects really need of the headers their .d files tell, so here it is the order alone.
$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h &: %.proto
	@mkdir -p $(BUILD)/gen
	@echo "  pb   $<"
	@protoc-c --proto_path=. --c_out=$(BUILD)/gen $<

# What is generated is not ours to mend: without our warnings.
$(BUILD)/obj/%.pb-c.o: $(BUILD)/gen/%.pb-c.c $(BUILD)/flags | $(PB_H)
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(TM_CPPFLAGS) $(filter-out $(WARN),$(TM_CFLAGS)) -w -MMD -MP -c -o $@ $<

$(BUILD)/obj/tests/%.o: tests/%.c $(BUILD)/flags | $(PB_H)
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(TM_CPPFLAGS) $(TM_CFLAGS) $(TEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(PB_H)
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(TM_CPPFLAGS) $(TM_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC)) $(PB_OBJ) $(BUILD)/objects
	@rm -f $@
	@$(AR) rcs $@ $(filter %.o,$^)

# The linker's own script, and in it, before all other code, what an ordinary daemon runs (tools/order). Empty where the linker shows none.
$(BUILD)/thinmesh.ld: tools/order.ld $(BUILD)/flags
	@$(CC) $(TM_LDFLAGS) -Wl,--verbose 2>/dev/null | sed '1,/^=====/d; /^=====/,$$d; s|^ *\*(\.text\.unlikely .*|INCLUDE $<\n&|' > $@ || :
	@grep -q '^INCLUDE' $@ || : > $@

link_daemon = $(CC) $(TM_CFLAGS) $(TM_LDFLAGS) $$([ ! -s $(BUILD)/thinmesh.ld ] || echo -Wl,-T,$(BUILD)/thinmesh.ld) -o $@ $(filter %.o %.a,$^) $(PKG_LIBS)
$(DAEMON): $(call obj,$(MAIN)) $(LIB) $(BUILD)/flags $(BUILD)/thinmesh.ld
	@echo "  ld   $@"
	@$(link_daemon)

$(BUILD)/order/thinmesh: $(call obj,$(MAIN)) $(LIB) $(BUILD)/flags $(BUILD)/thinmesh.ld
	@mkdir -p $(@D)
	@$(link_daemon) -Wl,-Map=$@.map

link_test = @mkdir -p $(@D); echo "  ld   $@"; $(CC) $(TM_CFLAGS) $(TM_LDFLAGS) $(TEST_LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS) $(CHECK_LIBS)

.SECONDEXPANSION:
$(UNIT): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/%.o $(BUILD)/obj/tests/main.o \
		$$(call obj,$$(filter-out $(UNIT_SRC),$$(wildcard tests/$$(dir $$*)*.c))) \
		$(call obj,$(wildcard tests/sim/simnet*.c)) $$(if $$(findstring xds/,$$*),$$(call obj,$(wildcard tests/flow/rig_ads*.c tests/flow/rig_sds*.c tests/flow/rig_ca*.c))) \
		$$(if $$(findstring lb/,$$*)$$(findstring health/,$$*),$$(call obj,tests/net/tlsrig.c tests/net/materialrig.c)) $(LIB) $(BUILD)/flags
	$(link_test)

$(FLOW): $(BUILD)/tests/flow/%: $(BUILD)/obj/tests/flow/%.o $(BUILD)/obj/tests/main.o \
		$(call obj,$(FLOW_HELP) $(SIM_HELP)) $(LIB) $(BUILD)/flags
	$(link_test)

$(BUILD)/tests/sim: $(call obj,$(SIM_SRC) $(wildcard tests/flow/rig*.c)) $(LIB) $(BUILD)/flags
	@mkdir -p $(@D); echo "  ld   $@"
	@$(CC) $(TM_CFLAGS) $(TM_LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS)

# A control plane as a process, for the e2e cases and the benchmark.
$(BUILD)/tests/plane: $(call obj,$(wildcard tests/plane/*.c tests/flow/rig_ads*.c) $(SIM_HELP)) $(LIB) $(BUILD)/flags
	@mkdir -p $(@D); echo "  ld   $@"
	@$(CC) $(TM_CFLAGS) $(TM_LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS)

$(FUZZ): $(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/replay.o \
		$(call obj,$(filter-out $(FUZZ_SRC) tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)) $(FLOW_HELP) $(SIM_HELP)) $(LIB) $(BUILD)/flags
	@mkdir -p $(@D); echo "  ld   $@"
	@$(CC) $(TM_CFLAGS) $(TM_LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(PKG_LIBS)

-include $(patsubst %.o,%.d,$(call obj,$(SRC) $(wildcard tests/*.c tests/*/*.c)) $(PB_OBJ))
.SECONDARY:

# ---- trying --------------------------------------------------------------------------------------------------------------

.PHONY: deps demo test asan ubsan sim fuzz interop interop-full bench coverage gdb layers lint order format
deps:  ## install the Debian packages that building and testing need (apt-get; sudo if not root)
	@tools/deps build test

# Libraries are looked up when make starts: after an installation a second make sees them.
demo:  ## install what is missing, build, and carry real gRPC calls from a Unix socket to providers
	@tools/deps build demo
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tools/demo $(DAEMON)

test:  ## all tests (T=word: only those that match; KIND=unit,flow,sim,fuzz,e2e: only these)
	@tools/deps build test
	@$(MAKE) --no-print-directory run-tests

.PHONY: run-tests
# A part of the house builds and tests alone: make test FLOORS='base net' BUILD=build/net
run-tests: $(if $(PICKED),,$(if $(filter $(MAIN),$(SRC)),$(DAEMON) $(PLANE))) $(WANTED)
	@$(PYTHON) tests/run --build $(BUILD) --jobs $(J) $(if $(T),--filter '$(T)') $(if $(KIND),--kind $(KIND)) $(if $(PICKED),--only '$(PICKED)')

asan:  ## all tests under AddressSanitizer and UBSan (build/asan)
	@$(MAKE) --no-print-directory BUILD=build/asan SAN=address,undefined OPT='-O1 -g' test

ubsan:  ## all tests under UBSan alone (build/ubsan)
	@$(MAKE) --no-print-directory BUILD=build/ubsan SAN=undefined OPT='-O1 -g' test

sim: $(SIM)  ## one run of the simulation, with its trace hash: make sim SEED=n (KIND=mesh: an hour beside a control plane; KIND=life: checks, freezes, an app that comes and goes; SEEDS=n: seeds 1 to n)
	$(if $(SIM),@$(SIM) $(if $(filter mesh life,$(KIND)),--$(KIND) )$(if $(SEEDS),--seeds 1..$(SEEDS),--seed $(SEED)),@echo "sim: tests/sim/sim_main.c is not there" >&2; exit 1)

FUZZ_SECONDS ?= 60
fuzz:  ## fuzz each target for FUZZ_SECONDS (60) with libFuzzer (T=word: one target); finds stay in build/fuzz/
	@tools/deps build fuzz
	@$(MAKE) --no-print-directory fuzz-run

.PHONY: fuzz-run
fuzz-run: $(FUZZ_CLANG)
	@set -e; for f in $(if $(T),$(foreach p,$(FUZZ_CLANG),$(if $(findstring $(T),$(p)),$(p))),$(FUZZ_CLANG)); do \
		name=$${f##*/fuzz_}; mkdir -p build/fuzz/corpus/$$name tests/fuzz/corpus/$$name; \
		echo "  fuzz $$name, $(FUZZ_SECONDS) s"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=build/fuzz/$$name- build/fuzz/corpus/$$name tests/fuzz/corpus/$$name; done

# clang compiles the whole library once more: coverage must be seen inside it, not only in the target.
FUZZ_OBJ := $(LIB_SRC:%.c=build/fuzz/obj/%.o) $(PROTO:%.proto=build/fuzz/obj/%.pb-c.o)
build/fuzz/obj/%.pb-c.o: $(BUILD)/gen/%.pb-c.c | $(PB_H)
	@mkdir -p $(@D)
	@$(CLANG) $(TM_CPPFLAGS) -std=gnu11 -O1 -g $(PKG_CFLAGS) -w -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
build/fuzz/obj/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	@$(CLANG) $(TM_CPPFLAGS) -std=gnu11 -O1 -g $(PKG_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
$(FUZZ_CLANG): build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o $(FUZZ_OBJ) \
		$(patsubst %.c,build/fuzz/obj/%.o,$(filter-out $(FUZZ_SRC) tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)) $(FLOW_HELP) $(SIM_HELP))
	@$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $^ $(PKG_LIBS)
-include $(FUZZ_OBJ:%.o=%.d)

# What these do lies in their own runners; here are only their packages, and the daemon that they are given.
interop:  ## peers of other ecosystems (Go, Java, Node, Rust), exact versions, from their package registries
	@tools/deps build
	@tools/deps interop || echo "interop: peers whose tools are missing are skipped" >&2
	@$(MAKE) --no-print-directory all
	@tests/interop/run $(DAEMON)

interop-full:  ## the same from empty caches, every route ten times, the dated result into docs/interop.md
	@tools/deps build interop
	@$(MAKE) --no-print-directory all
	@tests/interop/run --full $(DAEMON)

bench:  ## our benchmarks, beside HAProxy from the same run; one JSON line a row
	@tools/deps build bench
	@$(MAKE) --no-print-directory all plane
	@tests/bench/run $(DAEMON)

COVERAGE_MIN ?= 85
coverage:  ## lines that unit, flow and e2e reach in uds, sidecar, lb, conf, net (fails below COVERAGE_MIN, 85)
	@tools/deps build test coverage
	@find build/cov -name '*.gcda' -delete 2>/dev/null || :
	@$(MAKE) --no-print-directory BUILD=build/cov COV=1 OPT='-O0 -g' KIND=unit,flow,e2e run-tests
	@gcovr -r . --object-directory build/cov -f 'uds/' -f 'sidecar/' -f 'lb/' -f 'conf/' -f 'net/' \
		--exclude-unreachable-branches -s --txt build/cov/report.txt --fail-under-line $(COVERAGE_MIN) build/cov/obj \
		|| { tail -n 60 build/cov/report.txt; exit 1; }

gdb: $(PICKED)  ## stop in a test program: make gdb T=ring
	$(if $(PICKED),CK_FORK=no gdb -q --args $(firstword $(PICKED)),@echo "gdb: say T=word for a test program" >&2; exit 1)

layers:  ## who may include whom, rationed libraries, unique names, no cycles (docs/internals.md); takes a second
	@$(PYTHON) tools/layers --selftest --quiet
	@$(PYTHON) tools/layers

lint:  ## cppcheck, hardening of the binary, units, forbidden functions, mutable state, manual page
	@tools/deps build lint
	@$(MAKE) --no-print-directory $(if $(wildcard $(MAIN)),all,lib)
	@BUILD=$(BUILD) PYTHON=$(PYTHON) tools/lint

.PHONY: order-run
order:  ## look anew which functions a start and calls run, for the order of the binary (tools/order.ld; needs valgrind)
	@tools/deps build bench order
	@$(MAKE) --no-print-directory order-run

order-run: $(BUILD)/order/thinmesh
	@tools/order $< $<.map

# Tables of rows, drawings and columns of comments are laid out by hand, and no option of clang-format leaves those alone: so it sees
# the lines that differ from HEAD, and files that git does not know yet. ALL=1: every source, whatever becomes of its tables.
CLANG_FORMAT ?= $(firstword $(shell command -v clang-format-14 clang-format 2>/dev/null) clang-format)
GIT_CLANG_FORMAT ?= $(firstword $(shell command -v git-clang-format-14 git-clang-format 2>/dev/null) git-clang-format)
format:  ## lay out by .clang-format what differs from HEAD (ALL=1: all sources, hand-made tables too)
	@tools/deps build format
	@$(if $(ALL),$(CLANG_FORMAT) -i $(SRC) $(wildcard $(FLOORS:%=%/*.h) tests/*.[ch] tests/*/*.[ch]),\
		$(GIT_CLANG_FORMAT) --binary $(CLANG_FORMAT) --extensions c,h --force --quiet HEAD -- . && \
		git ls-files -z --others --exclude-standard -- '*.c' '*.h' | xargs -0 -r $(CLANG_FORMAT) -i)

# ---- installing ----------------------------------------------------------------------------------------------------------

.PHONY: install uninstall dist clean help
UNIT_FOLDER = $(or $(SYSTEMD_UNITS),$(shell $(PKG_CONFIG) --variable=systemdsystemunitdir systemd 2>/dev/null),/lib/systemd/system)
SYSUSERS_FOLDER = $(PREFIX)/lib/sysusers.d
DOC_FOLDER   = $(PREFIX)/share/doc/thinmesh
MAN_FOLDER   = $(PREFIX)/share/man
MANUAL       = $(wildcard docs/thinmesh.8 docs/thinmesh.yaml.5)
TEXTS        = $(wildcard docs/*.md)
EXAMPLES     = $(wildcard examples/* examples/*/*)
UNITS        = systemd/thinmesh.service systemd/thinmesh@.service systemd/thinmesh.socket

install: $(DAEMON)  ## install binary, units, user, manual and examples (DESTDIR=, PREFIX=/usr; then systemd-sysusers once)
	install -D -m 755 $(DAEMON) $(DESTDIR)$(PREFIX)/bin/thinmesh
	install -d $(DESTDIR)$(UNIT_FOLDER)
	for u in $(UNITS); do sed 's|/usr/bin/thinmesh|$(PREFIX)/bin/thinmesh|' $$u > $(DESTDIR)$(UNIT_FOLDER)/$${u##*/}; \
		chmod 644 $(DESTDIR)$(UNIT_FOLDER)/$${u##*/}; done
	install -D -m 644 systemd/thinmesh.sysusers $(DESTDIR)$(SYSUSERS_FOLDER)/thinmesh.conf
	install -D -m 644 LICENSE $(DESTDIR)$(DOC_FOLDER)/LICENSE
	$(if $(wildcard README.md),install -m 644 README.md $(DESTDIR)$(DOC_FOLDER)/README.md)
	$(if $(TEXTS),install -d $(DESTDIR)$(DOC_FOLDER)/docs && install -m 644 $(TEXTS) $(DESTDIR)$(DOC_FOLDER)/docs)
	for e in $(EXAMPLES); do [ -d $$e ] || install -D -m 644 $$e $(DESTDIR)$(DOC_FOLDER)/$$e; done
	for m in $(MANUAL); do install -D -m 644 $$m $(DESTDIR)$(MAN_FOLDER)/man$${m##*.}/$${m##*/}; done

uninstall:  ## take away what install has laid down; configuration and state stay
	rm -f $(DESTDIR)$(PREFIX)/bin/thinmesh
	rm -f $(DESTDIR)$(MAN_FOLDER)/man8/thinmesh.8 $(DESTDIR)$(MAN_FOLDER)/man5/thinmesh.yaml.5
	rm -f $(DESTDIR)$(SYSUSERS_FOLDER)/thinmesh.conf
	rm -f $(UNITS:systemd/%=$(DESTDIR)$(UNIT_FOLDER)/%)
	rm -rf $(DESTDIR)$(DOC_FOLDER)

dist:  ## a source archive of what is committed: build/thinmesh-VERSION.tar.gz
	@mkdir -p $(BUILD)
	git archive --format=tar.gz --prefix=thinmesh-$(VERSION)/ -o $(BUILD)/thinmesh-$(VERSION).tar.gz HEAD

clean:  ## take build/ away
	rm -rf build

help:  ## this text
	@echo "thinmesh $(VERSION): make TARGET"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' Makefile | awk -F'\t' '{ printf "  %-14s%s\n", $$1, $$2 }'
