/* A disk that fails on order, for one process and its children: loaded by LD_PRELOAD.
 *
 * Stands between a program and the C library for files below DRIFTLINE_CHAOS_ROOT, SQLite's own
 * included. Orders come in a shared block of memory (DRIFTLINE_CHAOS_CONTROL, see control.py):
 *
 *   mode      0 well, 1 full (ENOSPC), 2 read-only (EROFS), 3 broken (EIO)
 *   countdown at the n-th write from now: action 1 die before it, 2 write half of it and die,
 *             3 die after it, 4 to 6 power cut: undo what was not fsynced, then die
 *
 * A power cut: 4 undoes everything since the last fsync, 5 leaves names and undoes data (a file
 * system that delays allocation), 6 undoes each write of data or not, by a coin. As on ext4 and XFS
 * an fsync of a file keeps its creation too; a rename, a removal and a new folder are kept by the
 * fsync of the folder they are in.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MODE, COUNTDOWN, ACTION, EVENTS, FIRED, UNDONE, NO_SQLITE, SEED, NUM_WORDS = 64 };
enum { FULL = 1, READ_ONLY = 2, BROKEN = 3 };
enum { BEFORE = 1, TORN = 2, AFTER = 3, CUT = 4, CUT_DATA = 5, CUT_SOME = 6 };
enum { MAX_FDS = 4096, MAX_UNDO = 1 << 25, PATH = 1024 };

static volatile int32_t *control;
static char root[PATH];
static size_t root_length;
static char *paths[MAX_FDS]; /* of open files below the root */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* -- what would be lost ---------------------------------------------------------------------- */

typedef enum { DATA, CREATE, RENAME, UNLINK, MKDIR } Kind;

typedef struct Undo {
    Kind kind;
    char path[PATH], other[PATH]; /* other: where a rename led, or what keeps the old file */
    char kept[PATH];
    off_t offset, size; /* size: of the file before */
    size_t length;
    char *old;
    struct Undo *before, *after;
} Undo;

static Undo *newest, *oldest;
static size_t held;
static unsigned kept_number;

#define REAL(name) real_##name
#define DECLARE(type, name, ...) static type (*REAL(name))(__VA_ARGS__)
DECLARE(int, open, const char *, int, ...);
DECLARE(int, openat, int, const char *, int, ...);
DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, pwrite, int, const void *, size_t, off_t);
DECLARE(int, ftruncate, int, off_t);
DECLARE(int, fsync, int);
DECLARE(int, fdatasync, int);
DECLARE(int, close, int);
DECLARE(int, rename, const char *, const char *);
DECLARE(int, unlink, const char *);
DECLARE(int, mkdir, const char *, mode_t);

__attribute__((constructor)) static void begin(void) {
#define FIND(name) *(void **)&REAL(name) = dlsym(RTLD_NEXT, #name)
    FIND(open); FIND(openat); FIND(write); FIND(pwrite); FIND(ftruncate); FIND(fsync);
    FIND(fdatasync); FIND(close); FIND(rename); FIND(unlink); FIND(mkdir);
    const char *place = getenv("DRIFTLINE_CHAOS_CONTROL"), *where = getenv("DRIFTLINE_CHAOS_ROOT");
    if (place == NULL || where == NULL || strlen(where) >= PATH) return;
    int file = REAL(open)(place, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *found = mmap(NULL, NUM_WORDS * sizeof(int32_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REAL(close)(file);
    if (found == MAP_FAILED) return;
    strcpy(root, where);
    root_length = strlen(root);
    control = found;
}

static int is_below(const char *path) {
    return control != NULL && path != NULL && strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0) && strlen(path) < PATH - 32;
}

static int ends(const char *path, const char *suffix) {
    size_t length = strlen(path), tail = strlen(suffix);
    return length >= tail && strcmp(path + length - tail, suffix) == 0;
}

/* Shared memory of SQLite is no data; two processes that share one database cannot both undo. */
static int is_undone(const char *path) {
    if (ends(path, "-shm")) return 0;
    return !control[NO_SQLITE] || strstr(path, ".sqlite") == NULL;
}

static void drop(Undo *one) {
    if (one->before) one->before->after = one->after; else oldest = one->after;
    if (one->after) one->after->before = one->before; else newest = one->before;
    held -= one->length + sizeof(Undo);
    if (one->kept[0]) REAL(unlink)(one->kept);
    free(one->old);
    free(one);
}

static Undo *note(Kind kind, const char *path) {
    while (oldest != NULL && held > MAX_UNDO) drop(oldest); /* a disk writes back in the end */
    Undo *one = calloc(1, sizeof(Undo));
    if (one == NULL) return NULL;
    one->kind = kind;
    strcpy(one->path, path);
    one->before = newest;
    if (newest) newest->after = one; else oldest = one;
    newest = one;
    held += sizeof(Undo);
    return one;
}

static void note_data(int file, const char *path, off_t offset, size_t length) {
    struct stat found;
    if (!is_undone(path) || fstat(file, &found) != 0) return;
    Undo *one = note(DATA, path);
    if (one == NULL) return;
    one->offset = offset;
    one->size = found.st_size;
    if (offset >= found.st_size || length == 0) return;
    if ((off_t)(offset + length) > found.st_size) length = found.st_size - offset;
    one->old = malloc(length);
    if (one->old == NULL) return;
    ssize_t got = pread(file, one->old, length, offset);
    one->length = got > 0 ? (size_t)got : 0;
    held += one->length;
}

/* A second name for `path`, so that it can come back. */
static void keep(Undo *one, const char *path) {
    int length = snprintf(one->kept, PATH, "%s/.chaos-%d-%u", root, (int)getpid(), kept_number++);
    if (length < 0 || length >= PATH || link(path, one->kept) != 0) one->kept[0] = 0;
}

static void in_folder(const char *path, char *folder) {
    strcpy(folder, path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
}

static void synced(const char *path) {
    char folder[PATH];
    for (Undo *one = newest, *next; one != NULL; one = next) {
        next = one->before;
        in_folder(one->kind == RENAME ? one->other : one->path, folder);
        int of_file = (one->kind == DATA || one->kind == CREATE) && strcmp(one->path, path) == 0;
        int of_folder = one->kind != DATA && strcmp(folder, path) == 0;
        if (of_file || of_folder) drop(one);
    }
}

/* What was written under the old name is to be found under the new one. */
static void moved(const char *from, const char *to) {
    for (Undo *one = newest; one != NULL; one = one->before)
        if ((one->kind == DATA || one->kind == CREATE) && strcmp(one->path, from) == 0)
            strcpy(one->path, to);
}

/* What was written into a file that no name leads to any more; whether it was new. */
static int forgotten(const char *path) {
    int was_new = 0;
    for (Undo *one = newest, *next; one != NULL; one = next) {
        next = one->before;
        if ((one->kind != DATA && one->kind != CREATE) || strcmp(one->path, path) != 0) continue;
        was_new |= one->kind == CREATE;
        drop(one);
    }
    return was_new;
}

static void undo_all(int action) {
    unsigned coin = (unsigned)control[SEED] * 2654435761u + 1u;
    for (Undo *one = newest; one != NULL; one = one->before) {
        coin = coin * 1103515245u + 12345u;
        if (one->kind == DATA) {
            if (action == CUT_SOME && (coin >> 16 & 1)) continue;
            int file = REAL(open)(one->path, O_WRONLY);
            if (file < 0) continue;
            if (one->length && REAL(pwrite)(file, one->old, one->length, one->offset) < 0) continue;
            if (REAL(ftruncate)(file, one->size) == 0) control[UNDONE]++;
        } else if (action == CUT) {
            if (one->kind == CREATE) REAL(unlink)(one->path);
            else if (one->kind == MKDIR) rmdir(one->path);
            else if (one->kind == UNLINK) REAL(rename)(one->kept, one->path);
            else {
                moved(one->other, one->path);
                REAL(rename)(one->other, one->path);
                if (one->kept[0]) REAL(rename)(one->kept, one->other);
            }
            control[UNDONE]++;
        }
    }
}

/* -- orders ---------------------------------------------------------------------------------- */

static void die(int action) {
    if (action >= CUT) undo_all(action);
    control[FIRED]++;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* At each write; the action that is to follow it, 0 for none. The caller holds the lock. */
static int event(void) {
    control[EVENTS]++;
    int left = control[COUNTDOWN];
    if (left <= 0) return 0;
    control[COUNTDOWN] = left - 1;
    if (left > 1) return 0;
    int action = control[ACTION];
    if (action == BEFORE || action >= CUT) die(action);
    return action;
}

static int refusal(int grows) {
    int mode = control[MODE];
    if (mode == FULL && grows) return ENOSPC;
    if (mode == READ_ONLY) return EROFS;
    return mode == BROKEN ? EIO : 0;
}

#define REFUSE(grows) { int error = refusal(grows); if (error) { errno = error; return -1; } }

static const char *path_of(int file) {
    return file >= 0 && file < MAX_FDS ? paths[file] : NULL;
}

/* -- what programs call ---------------------------------------------------------------------- */

static int opened(const char *path, int flags, mode_t mode, int at) {
    int is_ours = is_below(path), is_new = 0;
    if (is_ours && (flags & (O_WRONLY | O_RDWR))) {
        struct stat found;
        is_new = stat(path, &found) != 0;
        if (control[MODE] == READ_ONLY || control[MODE] == BROKEN || (is_new && flags & O_CREAT))
            REFUSE(is_new);
    }
    if (is_ours && !is_new && (flags & O_TRUNC) && is_undone(path)) {
        int file = REAL(open)(path, O_RDONLY | O_CLOEXEC);
        struct stat found;
        if (file >= 0 && !strstr(path, ".sqlite") && fstat(file, &found) == 0) {
            pthread_mutex_lock(&lock);
            note_data(file, path, 0, found.st_size);
            pthread_mutex_unlock(&lock);
        }
        if (file >= 0) REAL(close)(file);
    }
    int file = at == AT_FDCWD ? REAL(open)(path, flags, mode) : REAL(openat)(at, path, flags, mode);
    if (!is_ours || file < 0 || file >= MAX_FDS) return file;
    pthread_mutex_lock(&lock);
    free(paths[file]);
    paths[file] = strdup(path);
    if (is_new && is_undone(path)) note(CREATE, path);
    pthread_mutex_unlock(&lock);
    return file;
}

#define MODE_OF(flags)                                                                             \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(path, flags, mode, AT_FDCWD); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(path, flags, mode, AT_FDCWD); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags) return opened(path, flags, mode, at); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags) return opened(path, flags, mode, at); }

int close(int file) {
    if (file >= 0 && file < MAX_FDS && paths[file] != NULL) {
        pthread_mutex_lock(&lock);
        free(paths[file]);
        paths[file] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return REAL(close)(file);
}

static ssize_t written(int file, const void *bytes, size_t length, off_t offset, int seeks) {
    const char *path = path_of(file);
    if (path == NULL)
        return seeks ? REAL(pwrite)(file, bytes, length, offset) : REAL(write)(file, bytes, length);
    REFUSE(1);
    pthread_mutex_lock(&lock);
    off_t at = seeks ? offset : lseek(file, 0, SEEK_CUR);
    if (!seeks && (fcntl(file, F_GETFL) & O_APPEND)) at = lseek(file, 0, SEEK_END);
    note_data(file, path, at, length);
    int action = event();
    if (action == TORN) length = (length + 1) / 2;
    ssize_t done = seeks ? REAL(pwrite)(file, bytes, length, offset) : REAL(write)(file, bytes, length);
    if (action) die(action);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int file, const void *bytes, size_t length) { return written(file, bytes, length, 0, 0); }
ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) { return written(file, bytes, length, offset, 1); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) { return written(file, bytes, length, offset, 1); }

int ftruncate(int file, off_t size) {
    const char *path = path_of(file);
    if (path == NULL) return REAL(ftruncate)(file, size);
    struct stat found;
    off_t now = fstat(file, &found) == 0 ? found.st_size : 0;
    REFUSE(size > now);
    pthread_mutex_lock(&lock);
    if (size < now) note_data(file, path, size, now - size); else note_data(file, path, now, 0);
    int action = event(), done = REAL(ftruncate)(file, size);
    if (action) die(action);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }

static int flushed(int file, int (*real)(int)) {
    const char *path = path_of(file);
    if (path == NULL) return real(file);
    if (control[MODE] == BROKEN) { errno = EIO; return -1; }
    int done = real(file);
    pthread_mutex_lock(&lock);
    if (done == 0) synced(path);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int file) { return flushed(file, REAL(fsync)); }
int fdatasync(int file) { return flushed(file, REAL(fdatasync)); }

int rename(const char *from, const char *to) {
    if (!is_below(from) || !is_below(to)) return REAL(rename)(from, to);
    REFUSE(0);
    pthread_mutex_lock(&lock);
    int action = event();
    struct stat found;
    Undo *one = NULL;
    if (is_undone(from) && stat(from, &found) == 0 && S_ISREG(found.st_mode) && (one = note(RENAME, from))) {
        strcpy(one->other, to);
        keep(one, to);
    }
    int done = REAL(rename)(from, to);
    if (done == 0) {
        forgotten(to);
        moved(from, to);
    } else if (one) drop(one);
    if (action) die(action);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    if (!is_below(path)) return REAL(unlink)(path);
    REFUSE(0);
    pthread_mutex_lock(&lock);
    int action = event();
    Undo *one = NULL;
    if (is_undone(path) && !forgotten(path) && (one = note(UNLINK, path))) {
        keep(one, path);
        if (!one->kept[0]) { drop(one); one = NULL; }
    }
    int done = REAL(unlink)(path);
    if (done != 0 && one) drop(one);
    if (action) die(action);
    pthread_mutex_unlock(&lock);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (!is_below(path)) return REAL(mkdir)(path, mode);
    REFUSE(1);
    pthread_mutex_lock(&lock);
    int action = event(), done = REAL(mkdir)(path, mode);
    if (done == 0 && is_undone(path)) note(MKDIR, path);
    if (action) die(action);
    pthread_mutex_unlock(&lock);
    return done;
}
