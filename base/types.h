/* SPDX-License-Identifier: MIT */
/* The few names every layer shares: sizes, page arithmetic, likely/unlikely, container_of. No policy. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A virtual address of a program, in bytes. On sim it is an address of a simulated program. */
typedef uint64_t va_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE ((uint64_t)1 << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define PMD_SHIFT 21
#define PMD_SIZE ((uint64_t)1 << PMD_SHIFT)
#define PMD_MASK (~(PMD_SIZE - 1))
#define PTRS_PER_TABLE 512u

/* Highest program address plus one: 47 bits less one page, as x86-64 Linux has it with four levels. */
#define TASK_SIZE ((va_t)0x7FFFFFFFF000)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define FL_MUST_CHECK __attribute__((warn_unused_result))

static inline va_t page_down(va_t va)
{
	return va & PAGE_MASK;
}

static inline va_t page_up(va_t va)
{
	return (va + PAGE_SIZE - 1) & PAGE_MASK;
}

static inline bool is_page_aligned(uint64_t v)
{
	return (v & (PAGE_SIZE - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}
