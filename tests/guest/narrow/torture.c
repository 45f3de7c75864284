/* Path calls of 32-bit threads under a timer whose handler makes path calls too: every register, the flags and the result
   of each are looked at. */
#define _GNU_SOURCE
#ifdef __arm__
#include <asm/unistd.h>
#else
#include <asm/unistd_32.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#ifdef __arm__
/* r0 to r12, flags: from A32 and from Thumb code, there in a block of conditions. */
struct regs { uint32_t r[13], flags; };
void at_arm(const struct regs *before, struct regs *after);
void at_thumb(const struct regs *before, struct regs *after);
#define BODY(name, enter) \
    ".globl " name "\n.type " name ", %function\n" name ":\n push {r1, r4-r11, lr}\n" \
    " mov lr, r0\n ldr r0, [lr, #52]\n msr APSR_nzcvq, r0\n ldm lr, {r0-r12}\n " \
    enter "\n push {r0}\n ldr lr, [sp, #4]\n stmia lr, {r0-r12}\n mrs r0, APSR\n str r0, [lr, #52]\n pop {r0}\n" \
    " pop {r1, r4-r11, pc}\n"
__asm__(".arm\n" BODY("at_arm", "svc #0") ".thumb\n.thumb_func\n" BODY("at_thumb", "ite cs\n svccs #0\n svccc #0") ".thumb\n");
#define NUMBER r[7]
#define FIRST r[0]
#define SECOND r[1]
#define THIRD r[2]
#define FOURTH r[3]
#define RESULT r[0]
static const struct regs EMPTY = {{0, 0, 0xd0d0d0d0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xc0c0c0c0}, 0};
static const uint32_t FLAGS[] = {0, 0x20000000, 0xf0000000, 0x88000000, 0x40000000};
#define FLAG_MASK 0xf8000000
#define WAYS at_arm, at_thumb
#else
struct regs { uint32_t ax, bx, cx, dx, si, di, bp, flags; };
#define NUMBER ax
#define FIRST bx
#define SECOND cx
#define THIRD dx
#define FOURTH si
#define RESULT ax
static const struct regs EMPTY = {0, 0, 0, 0xd0d0d0d0, 0x51515151, 0xd1d1d1d1, 0xb9b9b9b9, 0x202};
static const uint32_t FLAGS[] = {0x202, 0x203, 0xad7, 0x246, 0x286};
/* The kernel leaves one flag to itself. */
#define FLAG_MASK ~0x10000u
#define WAYS at_vdso, at_int
void at_int(const struct regs *before, struct regs *after);
void at_vdso(const struct regs *before, struct regs *after);
#define BODY(name, enter) \
    ".globl " name "\n" name ":\n push %ebp; push %ebx; push %esi; push %edi\n" \
    " mov 20(%esp),%eax\n push 24(%esp)\n push 28(%eax); popf\n" \
    " mov 4(%eax),%ebx; mov 8(%eax),%ecx; mov 12(%eax),%edx; mov 16(%eax),%esi; mov 20(%eax),%edi; mov 24(%eax),%ebp; mov (%eax),%eax\n " \
    enter "\n pushf; push %eax; mov 8(%esp),%eax\n" \
    " mov %ebx,4(%eax); mov %ecx,8(%eax); mov %edx,12(%eax); mov %esi,16(%eax); mov %edi,20(%eax); mov %ebp,24(%eax)\n" \
    " pop %ecx; mov %ecx,(%eax); pop %ecx; mov %ecx,28(%eax)\n" \
    " add $4,%esp; pop %edi; pop %esi; pop %ebx; pop %ebp; ret\n"
__asm__(BODY("at_int", "int $0x80") BODY("at_vdso", "call *%gs:0x10"));
#endif

static char file[4200], none[4200];
static volatile int bad, handled, strange;
static int rounds;

static void once(unsigned seed, int in_handler) {
    static __thread char st[2][104];
    static void (*const ways[])(const struct regs *, struct regs *) = {WAYS};
    struct regs before = EMPTY, after;
    const char *path = seed % 3 ? file : none;
    int want = seed % 3 ? 0 : -2;
    before.flags = FLAGS[seed % 5];
    switch (seed / 3 % 4) {
    case 0: before.NUMBER = __NR_stat64; before.FIRST = (uint32_t)path; before.SECOND = (uint32_t)st[in_handler]; break;
    case 1: before.NUMBER = __NR_access; before.FIRST = (uint32_t)path; before.SECOND = 4; break;
    case 2: before.NUMBER = __NR_fstatat64; before.FIRST = -100; before.SECOND = (uint32_t)path; before.THIRD = (uint32_t)st[in_handler]; before.FOURTH = 0; break;
    case 3: before.NUMBER = __NR_faccessat; before.FIRST = -100; before.SECOND = (uint32_t)path; before.THIRD = 0; break;
    }
    ways[seed % 2](&before, &after);
    uint32_t got = after.RESULT;
    after.RESULT = before.RESULT;
    after.flags &= FLAG_MASK;
    if ((int)got != want || memcmp(&before, &after, sizeof before)) {
        if (!in_handler) printf("%u: %d, flags %x %x, second %x %x\n", seed, (int)got, before.flags, after.flags, before.SECOND, after.SECOND);
        __atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
    }
}

static void handler(int s, siginfo_t *i, void *c) {
    (void)s; (void)i;
#ifdef __arm__
    uint32_t ip = ((ucontext_t *)c)->uc_mcontext.arm_pc, narrow = 1;
#else
    greg_t *r = ((ucontext_t *)c)->uc_mcontext.gregs;
    uint32_t ip = r[REG_EIP], narrow = (r[REG_CS] & 0xffff) == 0x23;
#endif
    /* Never inside of prun's memory, and never as 64-bit code. */
    if ((ip >= 0x1000000 && ip < 0x8000000) || !narrow) strange = ip;
    handled++;
    once(handled, 1);
}

static void *work(void *arg) {
    for (int i = 0; i < rounds; i++) once((unsigned)i * 7 + (unsigned)(uintptr_t)arg, 0);
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    sprintf(file, "%s/f", argv[1]);
    sprintf(none, "%s/none", argv[1]);
    rounds = atoi(argv[2]);
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGALRM, &a, 0);
    struct itimerval t = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &t, 0);
    pthread_t all[4];
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&all[i], 0, work, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(all[i], 0);
    setitimer(ITIMER_REAL, &off, 0);
    printf("handlers %d bad %d strange %x\n", handled > 10, bad, strange);
    return bad || strange;
}
