# SPDX-License-Identifier: MIT
# Faultline. Plain GNU Make, no configure step; adding a .c file to a folder needs no edit here.
#   make [CC=clang] [DEBUG=1] [SAN=address,undefined|thread]      output in build/$(VARIANT)
#   make demo | check | bench | install [PREFIX=/usr/local] [DESTDIR=] | uninstall | clean
#   make check-unit | check-machine | check-conformance | check-live | check-programs | check-headers | check-layers
VERSION := 0.1.0
SOVERSION := 0
CC ?= cc
OBJCOPY ?= objcopy
DEBUG ?=
SAN ?=
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
# what only `faultline` itself loads: the shim and the bench client
FL_LIBDIR ?= $(LIBDIR)/faultline
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man

empty :=
comma := ,
VARIANT := $(notdir $(firstword $(CC)))$(if $(DEBUG),-debug)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
B := build/$(VARIANT)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter $(if $(WERROR),-Werror)
CFLAGS ?= -O2 -g
ALL_CFLAGS := -std=gnu17 -D_GNU_SOURCE -DFL_VERSION='"$(VERSION)"' -I. -Iinclude -fPIC -fvisibility=hidden \
	-fno-omit-frame-pointer -MMD -MP $(WARN) $(CFLAGS) $(if $(DEBUG),-DFL_DEBUG -O1) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LDFLAGS_ALL := $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
SO_LDFLAGS := -shared -Wl,-z,now -Wl,--version-script=tools/exports.map $(if $(SAN),,-Wl,-z,defs) $(LDFLAGS_ALL)
LIBS := -ldl -lpthread
CHECK_LIBS := -lcheck -lsubunit -lrt -lm -lpthread

# Engine code stays in one section, whatever the compiler thinks is hot, cold or start-up code.
cc_has = $(shell echo 'int x;' | $(CC) -Werror $(1) -x c -c -o /dev/null - 2>/dev/null && echo $(1))
ENGINE_CFLAGS := $(foreach f,-fno-reorder-functions -fno-reorder-blocks-and-partition,$(call cc_has,$(f)))
# The signal code tells engine code from other code by its address: __start_fl_engine_text .. __stop_fl_engine_text.
ENGINE_TEXT := $(foreach s,.text .text.unlikely .text.unlikely. .text.hot .text.hot. .text.startup .text.exit \
	.text.asan.module_ctor .text.asan.module_dtor .text.tsan.module_ctor,--rename-section $(s)=fl_engine_text)

# libc's byte functions, called or emitted by the compiler, become the engine's own (base/string.c): same reason.
ENGINE_SYMS := $(foreach s,memset memcpy memmove memcmp memchr strlen strncmp,--redefine-sym $(s)=fl_$(s))

src = $(wildcard $(addsuffix /*.c,$(1)))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
prog = $(patsubst %.c,$(B)/%,$(call src,$(1)))

ENGINE_DIRS := base machine/live mm uffd lib
ENGINE_OBJ := $(call obj,$(call src,$(ENGINE_DIRS)))
SIM_OBJ := $(call obj,$(call src,machine/sim))
RUN_OBJ := $(call obj,$(call src,run))
CLI_OBJ := $(call obj,$(call src,cli))
MACHINE_TEST_OBJ := $(call obj,$(call src,test/machine))
CONFORMANCE_OBJ := $(call obj,$(call src,test/conformance))

UNIT_TESTS := $(call prog,test/unit)
MACHINE_TEST := $(if $(MACHINE_TEST_OBJ),$(B)/test/machine)
CONFORMANCE_TEST := $(if $(CONFORMANCE_OBJ),$(B)/test/conformance)
LIVE_TESTS := $(call prog,test/live)
# the same sources, bound to the library, so that sanitizers can watch the engine
LIBRARY_TESTS := $(patsubst test/live/%.c,$(B)/test/library/%,$(if $(wildcard test/library/bind.h),$(wildcard test/live/*.c)))
PROGRAM_TESTS := $(call prog,test/programs)
BENCHES := $(call prog,bench)
EXAMPLES := $(call prog,examples)
TOOLS := $(call prog,tools)
PLAIN_PROGRAMS := $(LIVE_TESTS) $(PROGRAM_TESTS) $(BENCHES) $(TOOLS) $(filter-out $(B)/examples/library,$(EXAMPLES))

all: $(B)/libfaultline.a $(B)/libfaultline.so $(B)/libfaultline-run.so $(B)/faultline $(BENCHES)
examples: $(EXAMPLES)
# programs that need nothing but libc, and then those that need Check
test-programs: $(CONFORMANCE_TEST) $(LIVE_TESTS) $(PROGRAM_TESTS) $(EXAMPLES) $(TOOLS)
engine-tests: $(UNIT_TESTS) $(MACHINE_TEST) $(LIBRARY_TESTS)
tests: engine-tests test-programs

$(B)/libfaultline.a: $(ENGINE_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/libfaultline.so: $(ENGINE_OBJ)
	$(CC) $(SO_LDFLAGS) -Wl,-soname,libfaultline.so.$(SOVERSION) -o $@ $^ $(LIBS)
	@ln -sf libfaultline.so $@.$(SOVERSION)

$(B)/libfaultline-run.so: $(ENGINE_OBJ) $(RUN_OBJ)
	$(CC) $(SO_LDFLAGS) -Wl,-z,initfirst -o $@ $^ $(LIBS)

$(B)/faultline: $(CLI_OBJ) $(ENGINE_OBJ) $(SIM_OBJ)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(ENGINE_OBJ): $(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ENGINE_CFLAGS) -c -o $@ $<
	@$(OBJCOPY) $(ENGINE_TEXT) $(ENGINE_SYMS) $@

# The folder is compiled in, so a new PREFIX compiles cli/ again; it is looked at after the program's own folder.
$(B)/obj/cli/%.o: ALL_CFLAGS += -DFL_LIBDIR='"$(FL_LIBDIR)"'
$(CLI_OBJ): $(B)/libdir
$(B)/libdir: FORCE
	@mkdir -p $(@D)
	@echo '$(FL_LIBDIR)' | cmp -s - $@ || echo '$(FL_LIBDIR)' >$@

$(UNIT_TESTS): $(B)/%: $(B)/obj/%.o $(ENGINE_OBJ) $(SIM_OBJ)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CHECK_LIBS) $(LIBS)

$(B)/test/machine: $(MACHINE_TEST_OBJ) $(ENGINE_OBJ) $(SIM_OBJ)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CHECK_LIBS) $(LIBS)

$(B)/test/conformance: $(CONFORMANCE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lpthread

$(B)/obj/test/library/%.o: test/live/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -include test/library/bind.h -c -o $@ $<

$(LIBRARY_TESTS): $(B)/%: $(B)/obj/%.o $(ENGINE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(PLAIN_PROGRAMS): $(B)/%: $(B)/obj/%.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $< -lpthread

$(B)/examples/library: $(B)/obj/examples/library.o $(B)/libfaultline.so
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -Wl,-rpath,'$$ORIGIN/..' -o $@ $< -L$(B) -lfaultline -lpthread

# ---- what to run ---------------------------------------------------------------------------------------------------

# everything, with both compilers; installs the packages it needs where it may
check:
	@test/run-all

check-unit: $(UNIT_TESTS)
check-machine: $(MACHINE_TEST)
check-conformance check-live check-programs: all test-programs
check-unit check-machine check-conformance check-live check-programs: check-%:
	@test/run-all --build $(B) $*

check-headers:
	@tools/check-headers

check-layers:
	@tools/check-layers --self-test
	@tools/check-layers

demo:
	@tools/deps demo
	@$(MAKE) --no-print-directory -s -j$(shell nproc) B=$(B) all examples $(TOOLS)
	@tools/demo $(B)

bench: all
	@tools/bench $(B)

# ---- install -------------------------------------------------------------------------------------------------------

MAN1 := $(wildcard docs/man/*.1)
MAN3 := $(wildcard docs/man/*.3)
D_LIB = $(DESTDIR)$(LIBDIR)

install: all
	install -d $(DESTDIR)$(BINDIR) $(D_LIB)/pkgconfig $(DESTDIR)$(FL_LIBDIR) \
		$(DESTDIR)$(INCLUDEDIR)/faultline $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man3
	install -m 755 $(B)/faultline $(DESTDIR)$(BINDIR)/faultline
	install -m 755 $(B)/libfaultline-run.so $(DESTDIR)$(FL_LIBDIR)/libfaultline-run.so
	$(foreach b,$(BENCHES),install -m 755 $(b) $(DESTDIR)$(FL_LIBDIR)/$(notdir $(b)) &&) true
	install -m 755 $(B)/libfaultline.so $(D_LIB)/libfaultline.so.$(VERSION)
	ln -sf libfaultline.so.$(VERSION) $(D_LIB)/libfaultline.so.$(SOVERSION)
	ln -sf libfaultline.so.$(SOVERSION) $(D_LIB)/libfaultline.so
	install -m 644 $(B)/libfaultline.a $(D_LIB)/libfaultline.a
	install -m 644 include/faultline/*.h $(DESTDIR)$(INCLUDEDIR)/faultline/
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
		lib/faultline.pc.in >$(D_LIB)/pkgconfig/faultline.pc
	chmod 644 $(D_LIB)/pkgconfig/faultline.pc
	$(if $(MAN1),install -m 644 $(MAN1) $(DESTDIR)$(MANDIR)/man1/)
	$(if $(MAN3),install -m 644 $(MAN3) $(DESTDIR)$(MANDIR)/man3/)

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/faultline $(D_LIB)/libfaultline.a $(D_LIB)/libfaultline.so \
		$(D_LIB)/libfaultline.so.$(SOVERSION) $(D_LIB)/libfaultline.so.$(VERSION) $(D_LIB)/pkgconfig/faultline.pc
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man1/,$(notdir $(MAN1))) $(addprefix $(DESTDIR)$(MANDIR)/man3/,$(notdir $(MAN3)))
	rm -rf $(DESTDIR)$(FL_LIBDIR) $(DESTDIR)$(INCLUDEDIR)/faultline

# ---- tools ---------------------------------------------------------------------------------------------------------

ALL_SRC := $(call src,$(ENGINE_DIRS) machine/sim run cli test/unit test/machine test/conformance test/live \
	test/programs bench examples tools)

compile_commands.json: FORCE
	@{ printf '['; sep=; for f in $(ALL_SRC); do \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$$sep" "$(CURDIR)" "$$f" \
			'$(CC) $(subst "',\\\",$(subst '",\\\",$(filter-out -MMD -MP,$(ALL_CFLAGS))))' "$$f"; sep=,; \
	done; printf '\n]\n'; } >$@

clean:
	rm -rf build compile_commands.json

FORCE:
.PHONY: all examples test-programs engine-tests tests check check-unit check-machine check-conformance check-live check-programs \
	check-headers check-layers demo bench install uninstall clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:
-include $(patsubst %.c,$(B)/obj/%.d,$(ALL_SRC)) $(patsubst $(B)/%,$(B)/obj/%.d,$(LIBRARY_TESTS))
