//! What is said of several repetitions.

/// Two-sided 95 % quantiles of Student's t, for 1, 2, … degrees of freedom.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for more.
const T_95_BEYOND: f64 = 1.96;

/// A mean and what it may be instead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    /// The 95 % confidence interval by Student's t; nothing with fewer than two samples.
    pub(crate) interval: Option<(f64, f64)>,
}

/// The mean of independent samples. `None` without any.
pub(crate) fn estimate(samples: &[f64]) -> Option<Estimate> {
    let count = samples.len() as f64;
    let mean = (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / count)?;
    let freedom = samples.len() - 1;
    let interval = (freedom > 0).then(|| {
        let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        let t = T_95.get(freedom - 1).copied().unwrap_or(T_95_BEYOND);
        let half = t * (squares / freedom as f64 / count).sqrt();
        (mean - half, mean + half)
    });
    Some(Estimate { mean, interval })
}

/// The value that a share of the samples does not exceed, by linear interpolation. `None` without
/// any.
pub(crate) fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

/// The least and the greatest sample. `None` without any.
pub(crate) fn extremes(samples: &[f64]) -> Option<(f64, f64)> {
    Some((quantile(samples, 0.0)?, quantile(samples, 1.0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_students() {
        let of = estimate(&[1.0, 2.0, 3.0]).expect("there are samples");
        // The standard error is 1 / sqrt(3).
        let (low, high) = of.interval.expect("there are enough samples");
        assert!((of.mean - 2.0).abs() < 1e-12);
        assert!(
            (high - 2.0 - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9 && (high + low - 4.0).abs() < 1e-9
        );
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[5.0]).map(|of| of.interval), Some(None));
    }

    #[test]
    fn quantiles_lie_between_samples() {
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), Some(2.5));
        assert_eq!(extremes(&[4.0, 1.0, 2.0]), Some((1.0, 4.0)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
