/* The message of the last error in each thread. */
#ifndef FXBIN_ERRORS_H
#define FXBIN_ERRORS_H

/** Store the message, formatted as by printf, and return `status`. */
__attribute__((format(printf, 2, 3))) int fail(int status, const char *format, ...);

#endif
