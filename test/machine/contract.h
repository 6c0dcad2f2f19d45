/* SPDX-License-Identifier: MIT */
/* What the contract's test files share. */
#pragma once
#include <check.h>

#include "test/machine/fixture.h"

extern const struct fixture *fx;
extern struct machine *contract_machine;

void contract_start(int seed);
void contract_stop(void);

TCase *contract_place_tests(void);
