//! Paths inside the container, made absolute and free of `.`, `..` and double slashes. This is tidiness, not
//! safety: what a path leads to is decided by the executor beneath the root's descriptor.

use crate::plan::PlanError;

/// The path from the container's root, lexically cleaned.
pub(super) fn clean(field: &str, text: &str) -> Result<String, PlanError> {
    if text.contains('\0') || text.len() >= 4096 {
        return Err(PlanError::invalid(field, text));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A host path: absolute, as it is.
pub(super) fn host(field: &str, text: &str) -> Result<String, PlanError> {
    if text.starts_with('/') && !text.contains('\0') && text.len() < 4096 {
        Ok(text.to_owned())
    } else {
        Err(PlanError::invalid(field, text))
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn a_path_cannot_climb_above_the_root() {
        for (given, cleaned) in
            [("/a/../../b", "/b"), ("a//b/./c/", "/a/b/c"), ("", "/"), ("/..", "/"), ("../../etc", "/etc")]
        {
            assert_eq!(clean("p", given).as_deref(), Ok(cleaned));
        }
        assert!(clean("p", "/a\0b").is_err());
    }
}
