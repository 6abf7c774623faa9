//! What is known of status codes.

/// Codes whose meaning for caches this one knows (`must-understand`, RFC 9111 section 5.2.2.3).
pub(super) fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200 | 203
            | 204
            | 300
            | 301
            | 302
            | 303
            | 307
            | 308
            | 400
            | 401
            | 403
            | 404
            | 405
            | 406
            | 408
            | 409
            | 410
            | 411
            | 412
            | 413
            | 414
            | 415
            | 416
            | 417
            | 421
            | 422
            | 426
            | 429
            | 431
            | 451
            | 500
            | 501
            | 502
            | 503
            | 504
            | 505
    )
}

/// Codes whose responses may have a lifetime that nobody names (RFC 9110 section 15.1, without 206).
pub(super) fn is_heuristic(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}
