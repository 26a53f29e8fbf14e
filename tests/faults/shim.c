/* Faults at exact system calls, and another time of day, in a process that preloads this library.
 *
 * `fault_arm` names a folder, a kind of call, its number, and what shall happen there; calls about
 * anything outside the folder are not counted. Calls reach it through the C library, so what
 * libraries written in C, C++ and Rust do is counted like what Python does.
 *
 *     cc -shared -fPIC -O2 -o shim.so shim.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* In the order of CALLS in shim.py. */
enum call { OPEN, WRITE, SYNC, RENAME, REMOVE, MKDIR, TRUNCATE, NUM_CALLS };

/* In the order of ACTIONS in shim.py. */
enum action { NOTHING, KILL_BEFORE, KILL_AFTER, FAIL_ONCE, FAIL_FROM_HERE, SHORT, SIGNAL };

static struct {
    char root[PATH_MAX];
    size_t length;
    enum call call;
    long at;
    enum action action;
    int value; /* errno, or number of a signal */
} plan;

static atomic_long seen[NUM_CALLS];
static atomic_int fired;

void fault_arm(const char *root, int call, long at, int action, int value) {
    plan.length = strlen(strncpy(plan.root, root, PATH_MAX - 1));
    plan.call = call;
    plan.at = at;
    plan.action = action;
    plan.value = value;
    for (int kind = 0; kind < NUM_CALLS; kind++) seen[kind] = 0;
    fired = 0;
}

long fault_count(int call) { return seen[call]; }

int fault_fired(void) { return fired; }

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_under_root(const char *path) {
    return plan.length && path && !strncmp(path, plan.root, plan.length);
}

static int is_path_counted(int folder, const char *path) {
    char whole[PATH_MAX], name[64];
    if (!plan.length || !path) return 0;
    if (path[0] == '/') return is_under_root(path);
    if (folder == AT_FDCWD) snprintf(name, sizeof name, "/proc/self/cwd");
    else snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
    ssize_t size = readlink(name, whole, sizeof whole - 1);
    if (size < 0) return 0;
    whole[size] = 0;
    return is_under_root(whole);
}

static int is_open_counted(int descriptor) {
    char name[64], path[PATH_MAX];
    if (!plan.length) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return is_under_root(path);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What happens before this call: 1 to let it pass, 0 to refuse it with errno, -1 to halve it. */
static int meet(enum call call, int is_counted) {
    if (!is_counted) return 1;
    long number = ++seen[call];
    int is_here = call == plan.call && number == plan.at;
    if (is_here) fired = plan.action != NOTHING;
    switch (plan.action) {
    case KILL_BEFORE:
        if (is_here) die();
        return 1;
    case FAIL_ONCE:
        if (is_here) errno = plan.value;
        return !is_here;
    case FAIL_FROM_HERE: /* a full disk still removes and renames */
        if (plan.value == ENOSPC && (call == REMOVE || call == RENAME)) return 1;
        if (fired) errno = plan.value;
        return !fired;
    case SHORT:
        if (is_here) return -1;
        if (fired && call == WRITE) errno = ENOSPC;
        return !(fired && call == WRITE);
    case SIGNAL:
        if (is_here) kill(getpid(), plan.value);
        return 1;
    default:
        return 1;
    }
}

static void leave(enum call call, int is_counted) {
    if (is_counted && plan.action == KILL_AFTER && call == plan.call && seen[call] == plan.at) die();
}

#define GUARDED(type, call, is_counted, expression) \
    int counted_ = (is_counted); \
    if (!meet(call, counted_)) return -1; \
    type result_ = (expression); \
    leave(call, counted_); \
    return result_

#define OPENS(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags)
    REAL(open);
    GUARDED(int, OPEN, OPENS(flags) && is_path_counted(AT_FDCWD, path), real(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    REAL(open64);
    GUARDED(int, OPEN, OPENS(flags) && is_path_counted(AT_FDCWD, path), real(path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    REAL(openat);
    GUARDED(int, OPEN, OPENS(flags) && is_path_counted(folder, path), real(folder, path, flags, mode));
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF(flags)
    REAL(openat64);
    GUARDED(int, OPEN, OPENS(flags) && is_path_counted(folder, path), real(folder, path, flags, mode));
}

#define WRITES(size_, whole, half) \
    int counted_ = is_open_counted(descriptor); \
    int pass_ = meet(WRITE, counted_); \
    if (!pass_) return -1; \
    ssize_t result_ = pass_ < 0 && (size_) > 1 ? (half) : (whole); \
    leave(WRITE, counted_); \
    return result_

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    WRITES(size, real(descriptor, data, size), real(descriptor, data, size / 2));
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    WRITES(size, real(descriptor, data, size, at), real(descriptor, data, size / 2, at));
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    WRITES(size, real(descriptor, data, size, at), real(descriptor, data, size / 2, at));
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(writev);
    WRITES(count, real(descriptor, parts, count), real(descriptor, parts, count / 2));
}

ssize_t sendfile64(int descriptor, int from, off64_t *at, size_t size) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "sendfile64");
    WRITES(size, real(descriptor, from, at, size), real(descriptor, from, at, size / 2));
}

int fsync(int descriptor) {
    REAL(fsync);
    GUARDED(int, SYNC, is_open_counted(descriptor), real(descriptor));
}

int fdatasync(int descriptor) {
    REAL(fdatasync);
    GUARDED(int, SYNC, is_open_counted(descriptor), real(descriptor));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    GUARDED(int, RENAME, is_path_counted(AT_FDCWD, to), real(from, to));
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    GUARDED(int, RENAME, is_path_counted(b, to), real(a, from, b, to));
}

int unlink(const char *path) {
    REAL(unlink);
    GUARDED(int, REMOVE, is_path_counted(AT_FDCWD, path), real(path));
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    GUARDED(int, REMOVE, is_path_counted(folder, path), real(folder, path, flags));
}

int rmdir(const char *path) {
    REAL(rmdir);
    GUARDED(int, REMOVE, is_path_counted(AT_FDCWD, path), real(path));
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    GUARDED(int, MKDIR, is_path_counted(AT_FDCWD, path), real(path, mode));
}

int ftruncate(int descriptor, off_t size) {
    REAL(ftruncate);
    GUARDED(int, TRUNCATE, is_open_counted(descriptor), real(descriptor, size));
}

int ftruncate64(int descriptor, off64_t size) {
    REAL(ftruncate64);
    GUARDED(int, TRUNCATE, is_open_counted(descriptor), real(descriptor, size));
}

/* Seconds between the real time of day and the one that is told; in a file that all share. */
static volatile long long *find_shift(void) {
    static volatile long long *shift;
    static long long none;
    const char *path = getenv("FAULT_CLOCK");
    if (shift) return shift;
    if (!path) return &none;
    int descriptor = open(path, O_RDONLY);
    void *page = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
    shift = page == MAP_FAILED ? &none : page;
    return shift;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME && !result) now->tv_sec += *find_shift();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int result = real(now, zone);
    if (!result) now->tv_sec += *find_shift();
    return result;
}
