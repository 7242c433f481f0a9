/* Power loss, emulated: an LD_PRELOAD library that writes down, in order, everything a process does to the files
 * below one directory. From that log the harness (tests/harness/powerloss.rs) works out what a disk would hold if the
 * power had gone at the moment the process was killed, and puts that in the directory's place.
 *
 *   POWERLOSS_DIR            the directory that is watched
 *   POWERLOSS_LOG            the log; appended to, outside the directory
 *   POWERLOSS_KILL_AT        the process kills itself at this logged operation (from 1), before carrying it out
 *   POWERLOSS_SYNC_FAILS_AT  from this sync (from 1) on every sync answers EIO
 *   POWERLOSS_BYTES_MAX      after so many bytes written, writes answer ENOSPC
 *   POWERLOSS_SYNCS_IGNORED  1: syncs succeed and make nothing durable, as on a disk that lies
 *
 * What it promises: an operation is in the log before its caller hears of its success, and operations are logged in
 * the order in which they took effect (one lock over both, for all threads). A sync is logged and not carried out:
 * what a real one would add is the very thing the log stands for. sync_file_range is carried out and logged as
 * nothing, for it makes nothing durable.
 *
 * What it does not see: writes through mappings, system calls made without libc (io_uring), stdio streams,
 * symbolic links. copy_file_range, sendfile and splice into a watched file are answered with EINVAL or EXDEV, on
 * which their callers fall back to read and write.
 *
 * A log record, little-endian: u8 kind, 3 bytes zero, u32 length of the rest, then what the kind says:
 *   C ino parent name   a file was created        D ino parent name   a directory was created
 *   A ino parent name   a name for a file that is already known (link)
 *   U parent name       a name was removed        R parent name, parent name   renamed
 *   W ino offset bytes  written                   T ino length        cut or extended
 *   S ino               synced (file or directory)                    Y   everything synced
 * Numbers are u64; a name that is not last has a u64 length before it. A file is known by its inode; C and D begin a
 * new one, should the number have been in use before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static dev_t root_device;
static uint64_t operations, kill_at, syncs, sync_fails_at, bytes_written, bytes_max, syncs_ignored;

/* The inodes that were opened or created below the directory: an open-addressed set. */
static uint64_t *inodes;
static size_t inodes_size, inodes_used;

static void fatal(const char *what) {
    dprintf(2, "powerloss: %s: %s\n", what, strerror(errno));
    _exit(97);
}

static uint64_t number_from(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

/* The log's descriptor is kept high, where nobody expects a low number. */
static void start(void) {
    const char *dir = getenv("POWERLOSS_DIR"), *path = getenv("POWERLOSS_LOG");
    if (!dir || !path)
        return;
    struct stat st;
    if (!realpath(dir, root) || stat(root, &st) != 0)
        fatal("POWERLOSS_DIR");
    root_length = strlen(root);
    root_device = st.st_dev;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        fatal("POWERLOSS_LOG");
    log_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
    if (log_fd < 0)
        fatal("POWERLOSS_LOG");
    syscall(SYS_close, fd);
    kill_at = number_from("POWERLOSS_KILL_AT");
    sync_fails_at = number_from("POWERLOSS_SYNC_FAILS_AT");
    bytes_max = number_from("POWERLOSS_BYTES_MAX");
    syncs_ignored = number_from("POWERLOSS_SYNCS_IGNORED");
}

static void unlock_after_fork(void) { pthread_mutex_unlock(&lock); }
static void lock_before_fork(void) { pthread_mutex_lock(&lock); }

__attribute__((constructor)) static void constructor(void) {
    pthread_once(&once, start);
    pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
}

static int watching(void) {
    pthread_once(&once, start);
    return log_fd >= 0;
}

/* ---- the set of inodes ---- */

static size_t slot_of(uint64_t inode) {
    size_t slot = (size_t)(inode * 0x9e3779b97f4a7c15u) & (inodes_size - 1);
    while (inodes[slot] && inodes[slot] != inode)
        slot = (slot + 1) & (inodes_size - 1);
    return slot;
}

static void watch_inode(uint64_t inode) {
    if (2 * (inodes_used + 1) > inodes_size) {
        uint64_t *old = inodes;
        size_t old_size = inodes_size;
        inodes_size = old_size ? 2 * old_size : 256;
        inodes = calloc(inodes_size, sizeof *inodes);
        if (!inodes)
            fatal("memory");
        for (size_t i = 0; i < old_size; i++)
            if (old[i])
                inodes[slot_of(old[i])] = old[i];
        free(old);
    }
    size_t slot = slot_of(inode);
    if (!inodes[slot]) {
        inodes[slot] = inode;
        inodes_used++;
    }
}

/* Whether the descriptor is of a watched file or directory; gives its status. */
static int watched_fd(int fd, struct stat *st) {
    int saved = errno;
    int found = fstat(fd, st) == 0 && st->st_dev == root_device && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) &&
                inodes_size && inodes[slot_of(st->st_ino)];
    errno = saved;
    return found;
}

/* ---- the log ---- */

/* The most parts of one write that are carried out; the caller is told it was a short write. */
#define PARTS_MAX 16

struct name {
    uint64_t parent;
    char text[NAME_MAX + 1];
};

/* One system call for each record: a process killed in the middle of it leaves a torn record at the end, which the
 * reader takes for what it is, an operation nobody heard of. */
static void record(char kind, const uint64_t *numbers, int count, const struct iovec *more, int more_count) {
    struct iovec parts[2 + PARTS_MAX];
    unsigned char head[8] = {(unsigned char)kind};
    uint32_t length = 0;
    int used = 0;
    parts[used++] = (struct iovec){head, sizeof head};
    if (count)
        parts[used++] = (struct iovec){(void *)numbers, (size_t)count * sizeof *numbers};
    length += (uint32_t)((size_t)count * sizeof *numbers);
    for (int i = 0; i < more_count; i++) {
        parts[used++] = more[i];
        length += (uint32_t)more[i].iov_len;
    }
    memcpy(head + 4, &length, sizeof length);
    ssize_t wanted = (ssize_t)(sizeof head + length);
    if (syscall(SYS_writev, log_fd, parts, used) != wanted)
        fatal("the log");
}

/* Counts an operation; here the process may end. Everything before is in the log, this one is not. */
static void operation(void) {
    if (++operations == kill_at)
        raise(SIGKILL);
}

static void record_name(char kind, uint64_t inode, const struct name *name) {
    uint64_t numbers[2] = {inode, name->parent};
    struct iovec text = {(void *)name->text, strlen(name->text)};
    record(kind, numbers, 2, &text, 1);
}

/* ---- names ---- */

/* Splits a path into a directory's inode and a name in it. 0 where that directory is not below the watched one. */
static int resolve(int dirfd, const char *path, struct name *name) {
    if (!path || !*path)
        return 0;
    char parent[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof parent)
        return 0;
    memcpy(parent, path, length + 1);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = 0;
    char *slash = strrchr(parent, '/');
    const char *last = slash ? slash + 1 : parent;
    if (!*last || !strcmp(last, ".") || !strcmp(last, "..") || strlen(last) > NAME_MAX)
        return 0;
    strcpy(name->text, last);
    const char *folder = ".";
    if (slash == parent)
        folder = "/";
    else if (slash) {
        *slash = 0;
        folder = parent;
    }
    int saved = errno, found = 0;
    int fd = (int)syscall(SYS_openat, dirfd, folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0) {
        char link[64], where[PATH_MAX];
        struct stat st;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t read = readlink(link, where, sizeof where - 1);
        if (read > 0 && fstat(fd, &st) == 0) {
            where[read] = 0;
            found = !strncmp(where, root, root_length) && (where[root_length] == 0 || where[root_length] == '/');
            name->parent = st.st_ino;
        }
        syscall(SYS_close, fd);
    }
    errno = saved;
    return found;
}

/* The directory itself and paths that end in a dot: no name in a watched directory, but still to be watched. */
static void watch_opened(int fd) {
    char link[64], where[PATH_MAX];
    struct stat st;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t read = readlink(link, where, sizeof where - 1);
    if (read > 0 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        where[read] = 0;
        if (!strncmp(where, root, root_length) && (where[root_length] == 0 || where[root_length] == '/'))
            watch_inode(st.st_ino);
    }
    errno = saved;
}

static int exists(int dirfd, const char *path) {
    struct stat st;
    int saved = errno, found = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved;
    return found;
}

/* ---- opening ---- */

static int open_watched(int dirfd, const char *path, int flags, mode_t mode) {
    struct name name;
    int unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    if (!watching())
        return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    pthread_mutex_lock(&lock);
    int below = !unnamed && resolve(dirfd, path, &name);
    int there = below && exists(dirfd, path);
    int creates = below && (flags & O_CREAT) && !there;
    if (creates || (below && there && (flags & O_TRUNC)))
        operation();
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    if (fd >= 0) {
        struct stat st;
        watch_opened(fd);
        if (watched_fd(fd, &st)) {
            if (creates)
                record_name('C', st.st_ino, &name);
            else if (unnamed) {
                name = (struct name){0};
                record_name('C', st.st_ino, &name);
            } else if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
                uint64_t numbers[2] = {st.st_ino, 0};
                record('T', numbers, 2, NULL, 0);
            }
        }
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE return open_watched(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_watched(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dirfd, const char *path, int flags, ...) { MODE return open_watched(dirfd, path, flags, mode); }
int openat64(int dirfd, const char *path, int flags, ...) { MODE return open_watched(dirfd, path, flags | O_LARGEFILE, mode); }
int __open_2(const char *path, int flags) { return open_watched(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_watched(AT_FDCWD, path, flags | O_LARGEFILE, 0); }
int __openat_2(int dirfd, const char *path, int flags) { return open_watched(dirfd, path, flags, 0); }
int __openat64_2(int dirfd, const char *path, int flags) { return open_watched(dirfd, path, flags | O_LARGEFILE, 0); }
int creat(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode); }

/* ---- writing ---- */

/* Carries out one write, at `offset` or, where that is negative, at the file's own position. */
static ssize_t carry_out(int fd, const struct iovec *parts, int count, off_t offset) {
    if (offset < 0)
        return syscall(SYS_writev, fd, parts, count);
    return syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L);
}

static ssize_t write_watched(int fd, const struct iovec *parts, int count, off_t offset) {
    struct stat st;
    if (!watching())
        return carry_out(fd, parts, count, offset);
    pthread_mutex_lock(&lock);
    int watched = watched_fd(fd, &st) && S_ISREG(st.st_mode);
    ssize_t written;
    if (!watched) {
        /* Not ours, and it may block for ever (a pipe): without the lock. */
        pthread_mutex_unlock(&lock);
        return carry_out(fd, parts, count, offset);
    }
    operation();
    struct iovec few[PARTS_MAX];
    int used = 0;
    uint64_t room = bytes_max ? (bytes_max > bytes_written ? bytes_max - bytes_written : 0) : UINT64_MAX;
    uint64_t total = 0;
    for (int i = 0; i < count && used < PARTS_MAX && total < room; i++) {
        few[used] = parts[i];
        if (few[used].iov_len > room - total)
            few[used].iov_len = (size_t)(room - total);
        total += few[used++].iov_len;
    }
    if (bytes_max && room == 0) {
        errno = ENOSPC;
        written = -1;
    } else {
        written = carry_out(fd, few, used, offset);
    }
    if (written > 0) {
        uint64_t at = offset >= 0 ? (uint64_t)offset : (uint64_t)(lseek(fd, 0, SEEK_CUR) - written);
        uint64_t numbers[2] = {st.st_ino, at};
        size_t left = (size_t)written;
        int kept = 0;
        for (; kept < used && left; kept++) {
            if (few[kept].iov_len > left)
                few[kept].iov_len = left;
            left -= few[kept].iov_len;
        }
        bytes_written += (uint64_t)written;
        record('W', numbers, 2, few, kept);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct iovec part = {(void *)bytes, length};
    return write_watched(fd, &part, 1, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    struct iovec part = {(void *)bytes, length};
    if (offset < 0) {
        errno = EINVAL;
        return -1;
    }
    return write_watched(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return pwrite(fd, bytes, length, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_watched(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (offset < 0) {
        errno = EINVAL;
        return -1;
    }
    return write_watched(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }
/* With flags (RWF_DSYNC and its like) it is not emulated; without, it is the same as the others. */
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (flags) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return write_watched(fd, parts, count, offset);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) { return pwritev2(fd, parts, count, offset, flags); }

/* ---- cutting and extending ---- */

static int resize_watched(int fd, off_t length) {
    struct stat st;
    if (!watching())
        return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int watched = watched_fd(fd, &st);
    if (watched)
        operation();
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0 && watched) {
        uint64_t numbers[2] = {st.st_ino, (uint64_t)length};
        record('T', numbers, 2, NULL, 0);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

int ftruncate(int fd, off_t length) { return resize_watched(fd, length); }
int ftruncate64(int fd, off64_t length) { return resize_watched(fd, length); }

int truncate(const char *path, off_t length) {
    int fd = open_watched(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int result = resize_watched(fd, length), saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
    return result;
}
int truncate64(const char *path, off64_t length) { return truncate(path, length); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    struct stat st;
    if (!watching())
        return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    int watched = watched_fd(fd, &st), result;
    if (watched && (mode & ~FALLOC_FL_KEEP_SIZE)) {
        errno = EOPNOTSUPP; /* holes and zeroed ranges are not emulated */
        result = -1;
    } else {
        if (watched)
            operation();
        result = (int)syscall(SYS_fallocate, fd, mode, offset, length);
        if (result == 0 && watched && mode == 0 && offset + length > st.st_size) {
            uint64_t numbers[2] = {st.st_ino, (uint64_t)(offset + length)};
            record('T', numbers, 2, NULL, 0);
        }
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return posix_fallocate(fd, offset, length); }

/* ---- names made, moved and removed ---- */

int mkdirat(int dirfd, const char *path, mode_t mode) {
    struct name name;
    struct stat st;
    if (!watching())
        return (int)syscall(SYS_mkdirat, dirfd, path, mode);
    pthread_mutex_lock(&lock);
    int below = resolve(dirfd, path, &name);
    if (below)
        operation();
    int result = (int)syscall(SYS_mkdirat, dirfd, path, mode);
    if (result == 0 && below && fstatat(dirfd, path, &st, 0) == 0) {
        watch_inode(st.st_ino);
        record_name('D', st.st_ino, &name);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int dirfd, const char *path, int flags) {
    struct name name;
    if (!watching())
        return (int)syscall(SYS_unlinkat, dirfd, path, flags);
    pthread_mutex_lock(&lock);
    int below = resolve(dirfd, path, &name);
    if (below)
        operation();
    int result = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (result == 0 && below) {
        struct iovec text = {name.text, strlen(name.text)};
        record('U', &name.parent, 1, &text, 1);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int result = unlink(path);
    return result != 0 && errno == EISDIR ? rmdir(path) : result;
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags) {
    struct name source, target;
    if (!watching())
        return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    pthread_mutex_lock(&lock);
    int from_below = resolve(from_fd, from, &source), to_below = resolve(to_fd, to, &target);
    int result;
    if (from_below != to_below || (from_below && (flags & ~1u /* RENAME_NOREPLACE */))) {
        /* In or out of the watched directory, or an exchange: not emulated. */
        errno = from_below != to_below ? EXDEV : EINVAL;
        result = -1;
    } else {
        if (from_below)
            operation();
        result = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
        if (result == 0 && from_below) {
            uint64_t numbers[2] = {source.parent, strlen(source.text)};
            struct iovec more[3] = {{source.text, strlen(source.text)},
                                    {&target.parent, sizeof target.parent},
                                    {target.text, strlen(target.text)}};
            record('R', numbers, 2, more, 3);
        }
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int renameat(int from_fd, const char *from, int to_fd, const char *to) { return renameat2(from_fd, from, to_fd, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    struct name target;
    struct stat st;
    if (!watching())
        return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    pthread_mutex_lock(&lock);
    int below = resolve(to_fd, to, &target);
    if (below)
        operation();
    int result = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    if (result == 0 && below && fstatat(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        watch_inode(st.st_ino);
        record_name('A', st.st_ino, &target);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* ---- syncing ---- */

static int sync_watched(int fd, long number) {
    struct stat st;
    if (!watching())
        return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    if (!watched_fd(fd, &st)) {
        pthread_mutex_unlock(&lock);
        return (int)syscall(number, fd);
    }
    operation();
    int result = 0;
    if (++syncs >= sync_fails_at && sync_fails_at) {
        errno = EIO;
        result = -1;
    } else if (!syncs_ignored) {
        uint64_t inode = st.st_ino;
        record('S', &inode, 1, NULL, 0);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

int fsync(int fd) { return sync_watched(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_watched(fd, SYS_fdatasync); }

static void sync_all(void) {
    pthread_mutex_lock(&lock);
    operation();
    if (!syncs_ignored)
        record('Y', NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

int syncfs(int fd) {
    struct stat st;
    if (!watching() || fstat(fd, &st) != 0 || st.st_dev != root_device)
        return (int)syscall(SYS_syncfs, fd);
    sync_all();
    return 0;
}
void sync(void) {
    if (watching())
        sync_all();
    else
        syscall(SYS_sync);
}

/* ---- copying inside the kernel: refused for watched files ---- */

static int watched_target(int fd) {
    struct stat st;
    if (!watching())
        return 0;
    pthread_mutex_lock(&lock);
    int watched = watched_fd(fd, &st);
    pthread_mutex_unlock(&lock);
    return watched;
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned int flags) {
    if (watched_target(to)) {
        errno = EXDEV;
        return -1;
    }
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}
ssize_t sendfile(int to, int from, off_t *from_at, size_t length) {
    if (watched_target(to)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, from_at, length);
}
ssize_t sendfile64(int to, int from, off64_t *from_at, size_t length) { return sendfile(to, from, from_at, length); }
ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned int flags) {
    if (watched_target(to)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_splice, from, from_at, to, to_at, length, flags);
}
