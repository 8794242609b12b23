/* libsodium for what rests: key files and sealed values. */
#include "shared/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KID_BYTES     2u
#define NONCE_BYTES   crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES     crypto_aead_xchacha20poly1305_ietf_ABYTES
#define KEY_HEX_BYTES (2 * SECRET_KEY_BYTES)

_Static_assert(KID_BYTES + NONCE_BYTES + TAG_BYTES == SECRET_SEAL_OVERHEAD, "overhead");
_Static_assert(SECRET_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");

int
secret_start(void)
{
    return sodium_init() < 0 ? -ENOSYS : 0;
}

void
secret_random(void *buf, size_t bytes)
{
    randombytes_buf(buf, bytes);
}

void
secret_wipe(void *buf, size_t bytes)
{
    sodium_memzero(buf, bytes);
}

bool
secret_equal(const void *a, const void *b, size_t bytes)
{
    return sodium_memcmp(a, b, bytes) == 0;
}

void
secret_hex(char *ret_text, size_t size, const uint8_t *bytes, size_t count)
{
    sodium_bin2hex(ret_text, size, bytes, count); /* asserts the room by itself */
}

int
secret_unhex(uint8_t *ret, size_t bytes, const char *text, size_t text_bytes)
{
    uint8_t out[128];
    if (bytes > sizeof(out) || text_bytes != 2 * bytes)
        return -EINVAL;
    size_t count;
    int rc = 0;
    if (sodium_hex2bin(out, sizeof(out), text, text_bytes, NULL, &count, NULL) != 0 ||
        count != bytes)
        rc = -EINVAL;
    else
        memcpy(ret, out, bytes);
    secret_wipe(out, sizeof(out));
    return rc;
}

static void
closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Reads up to `size` bytes until the end; the count or -errno. */
static ssize_t
read_whole(int fd, char *buf, size_t size)
{
    size_t used = 0;
    while (used < size) {
        ssize_t n = read(fd, buf + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t) n;
    }
    return (ssize_t) used;
}

int
secret_key_read(const char *path, uint8_t ret_key[static SECRET_KEY_BYTES])
{
    /* O_NONBLOCK: opening a FIFO must be refused, not waited for. */
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    mode_t mode = st.st_mode & 07777;
    if (!S_ISREG(st.st_mode) || (mode != 0600 && mode != 0400))
        return -EPERM;
    char text[KEY_HEX_BYTES + 2];
    ssize_t bytes = read_whole(fd, text, sizeof(text));
    int rc = bytes < 0 ? (int) bytes : 0;
    bool newline = bytes == KEY_HEX_BYTES + 1 && text[KEY_HEX_BYTES] == '\n';
    if (rc == 0 && !newline && bytes != KEY_HEX_BYTES)
        rc = -EINVAL;
    if (rc == 0)
        rc = secret_unhex(ret_key, SECRET_KEY_BYTES, text, KEY_HEX_BYTES);
    secret_wipe(text, sizeof(text));
    return rc;
}

static int
sync_directory_of(const char *path)
{
    char copy[PATH_MAX];
    size_t bytes = strlen(path) + 1;
    if (bytes > sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, path, bytes);
    _cleanup_(closep) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

static int
write_key(int fd, const uint8_t key[static SECRET_KEY_BYTES])
{
    char text[KEY_HEX_BYTES + 1];
    secret_hex(text, sizeof(text), key, SECRET_KEY_BYTES);
    text[KEY_HEX_BYTES] = '\n';
    ssize_t n = write(fd, text, sizeof(text));
    int rc = n < 0 ? -errno : n != sizeof(text) ? -EIO : 0;
    secret_wipe(text, sizeof(text));
    /* fchmod: a umask may have taken the owner's right to read */
    if (rc == 0 && (fchmod(fd, 0600) < 0 || fsync(fd) < 0))
        rc = -errno;
    return rc;
}

int
secret_key_create(const char *path, uint8_t ret_key[static SECRET_KEY_BYTES])
{
    _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    uint8_t key[SECRET_KEY_BYTES];
    secret_random(key, sizeof(key));
    int rc = write_key(fd, key);
    if (rc == 0)
        rc = sync_directory_of(path);
    if (rc == 0)
        memcpy(ret_key, key, sizeof(key));
    else
        unlink(path);
    secret_wipe(key, sizeof(key));
    return rc;
}

int
secret_seal(const uint8_t key[static SECRET_KEY_BYTES], uint16_t kid, struct slice context,
            struct slice plain, uint8_t *out, size_t size, size_t *ret_bytes)
{
    if (size < SECRET_SEAL_OVERHEAD || size - SECRET_SEAL_OVERHEAD < plain.bytes)
        return -ENOBUFS;
    uint8_t *nonce = out + KID_BYTES;
    uint8_t *body = nonce + NONCE_BYTES;
    unsigned long long body_bytes;
    out[0] = (uint8_t) (kid >> 8);
    out[1] = (uint8_t) kid;
    secret_random(nonce, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(body, &body_bytes, (const uint8_t *) plain.data,
                                               plain.bytes, (const uint8_t *) context.data,
                                               context.bytes, NULL, nonce, key);
    *ret_bytes = KID_BYTES + NONCE_BYTES + (size_t) body_bytes;
    return 0;
}

int
secret_open(const uint8_t key[static SECRET_KEY_BYTES], struct slice context, struct slice sealed,
            uint8_t *out, size_t size, size_t *ret_bytes)
{
    if (sealed.bytes < SECRET_SEAL_OVERHEAD)
        return -EBADMSG;
    if (size < sealed.bytes - SECRET_SEAL_OVERHEAD)
        return -ENOBUFS;
    const uint8_t *nonce = (const uint8_t *) sealed.data + KID_BYTES;
    const uint8_t *body = nonce + NONCE_BYTES;
    size_t body_bytes = sealed.bytes - KID_BYTES - NONCE_BYTES;
    unsigned long long plain_bytes;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, &plain_bytes, NULL, body, body_bytes,
                                                   (const uint8_t *) context.data, context.bytes,
                                                   nonce, key) != 0)
        return -EBADMSG;
    *ret_bytes = (size_t) plain_bytes;
    return 0;
}

void
secret_keyed_hash(const uint8_t key[static SECRET_KEY_BYTES], struct slice context,
                  struct slice data, uint8_t ret_hash[static SECRET_HASH_BYTES])
{
    crypto_generichash_state state;
    const uint8_t context_bytes =
        (uint8_t) context.bytes; /* in front: nothing can be cut otherwise */

    crypto_generichash_init(&state, key, SECRET_KEY_BYTES, SECRET_HASH_BYTES);
    crypto_generichash_update(&state, &context_bytes, sizeof(context_bytes));
    crypto_generichash_update(&state, (const uint8_t *) context.data, context.bytes);
    crypto_generichash_update(&state, (const uint8_t *) data.data, data.bytes);
    crypto_generichash_final(&state, ret_hash, SECRET_HASH_BYTES);
    secret_wipe(&state, sizeof(state));
}

uint64_t
secret_hash64(struct slice data)
{
    uint8_t hash[crypto_generichash_BYTES_MIN];
    crypto_generichash(hash, sizeof(hash), (const uint8_t *) data.data, data.bytes, NULL, 0);
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value = value << 8 | hash[i];
    return value;
}
