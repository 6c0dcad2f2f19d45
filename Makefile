# Faultline. Plain GNU Make, no configure step; adding a .c file to a folder needs no edit here.
#   make [CC=clang] [DEBUG=1] [SAN=address,undefined|thread]      output in build/$(VARIANT)
#   make demo | check | bench | install | clean
VERSION := 0.1.0
CC ?= cc
DEBUG ?=
SAN ?=
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

src = $(wildcard $(addsuffix /*.c,$(1)))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

ENGINE_DIRS := base machine/live mm uffd lib
ENGINE_OBJ := $(call obj,$(call src,$(ENGINE_DIRS)))
SIM_OBJ := $(call obj,$(call src,machine/sim))
RUN_OBJ := $(call obj,$(call src,run))
CLI_OBJ := $(call obj,$(call src,cli))

all: $(B)/libfaultline.a $(B)/libfaultline.so $(B)/libfaultline-run.so $(B)/faultline

$(B)/libfaultline.a: $(ENGINE_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/libfaultline.so: $(ENGINE_OBJ)
	$(CC) -shared -Wl,-soname,libfaultline.so.0 -Wl,-z,now -Wl,-z,defs $(LDFLAGS_ALL) -o $@ $^ -ldl -lpthread

$(B)/libfaultline-run.so: $(ENGINE_OBJ) $(RUN_OBJ)
	$(CC) -shared -Wl,-z,now -Wl,-z,defs -Wl,-z,initfirst $(LDFLAGS_ALL) -o $@ $^ -ldl -lpthread

$(B)/faultline: $(CLI_OBJ) $(ENGINE_OBJ) $(SIM_OBJ)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -ldl -lpthread

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

clean:
	rm -rf build

.PHONY: all clean
-include $(patsubst %.o,%.d,$(ENGINE_OBJ) $(SIM_OBJ) $(RUN_OBJ) $(CLI_OBJ))
