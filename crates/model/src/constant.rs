use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor};

/// Tensors that a layer needs at each step and that follow from `K`. They are made once: a copy to
/// a device waits until the device has done its work.
#[derive(Clone, Debug)]
pub(crate) struct Constant<K, T>(Arc<Mutex<Option<Kept<K, T>>>>);

#[derive(Debug)]
struct Kept<K, T> {
    key: K,
    device: Device,
    is_autodiff: bool,
    dtype: DType,
    value: T,
}

impl<K, T> Default for Constant<K, T> {
    fn default() -> Self {
        Constant(Arc::default())
    }
}

impl<K: PartialEq, T: Clone> Constant<K, T> {
    /// What the last call gave where it had the same key, and the device and the type of `like`;
    /// else what `make` gives.
    pub(crate) fn get<const D: usize>(
        &self,
        key: K,
        like: &Tensor<D>,
        make: impl FnOnce() -> T,
    ) -> T {
        let (device, dtype) = (like.device(), like.dtype());
        // Devices with and without automatic differentiation are equal.
        let is_autodiff = device.is_autodiff();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(kept)
                if kept.key == key
                    && kept.device == device
                    && kept.is_autodiff == is_autodiff
                    && kept.dtype == dtype =>
            {
                kept.value.clone()
            }
            _ => {
                let value = make();
                *kept = Some(Kept { key, device, is_autodiff, dtype, value: value.clone() });
                value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_made_again_for_another_key_or_device() {
        let (plain, autodiff) = (Device::flex(), Device::flex().autodiff());
        let like = |device: &Device| Tensor::<1>::zeros([1], device);
        let (constant, mut made) = (Constant::default(), Vec::new());
        for (key, device) in [(1, &plain), (1, &plain), (2, &plain), (2, &autodiff), (1, &plain)] {
            let value = constant.clone().get(key, &like(device), || {
                made.push((key, device.is_autodiff()));
                (key, device.is_autodiff())
            });
            assert_eq!(value, (key, device.is_autodiff()));
        }
        assert_eq!(made, [(1, false), (2, false), (2, true), (1, false)]);
    }
}
