/* SPDX-License-Identifier: MIT */
/* What crosses files inside uffd/ only. */
#pragma once
#include "uffd/abi.h"
#include "uffd/uffd.h"

static inline void uffd_count(struct uffd_ctx *ctx, enum uffd_count what, uint64_t n)
{
	if (ctx->sys->count && n)
		ctx->sys->count(what, n);
}

void uffd_get(struct uffd_ctx *ctx);
void uffd_put(struct uffd_ctx *ctx);

/* Reference 2.1: aligned, not empty, below TASK_SIZE, no wrap. aligned=false: COPY's source. */
int uffd_check_range(uint64_t start, uint64_t len, bool aligned);

int uffd_register(struct uffd_ctx *ctx, va_t arg);
int uffd_unregister(struct uffd_ctx *ctx, va_t arg);
int uffd_copy(struct uffd_ctx *ctx, va_t arg);
int uffd_zeropage(struct uffd_ctx *ctx, va_t arg);
int uffd_poison(struct uffd_ctx *ctx, va_t arg);
int uffd_writeprotect(struct uffd_ctx *ctx, va_t arg);
int uffd_wake(struct uffd_ctx *ctx, va_t arg);
