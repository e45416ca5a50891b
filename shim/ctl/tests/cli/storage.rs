//! The room that the made-up store takes, and what is wrong with it.

use proto::control as api;
use proto::control::storage_server;
use proto::control::verify_event::Event;
use tonic::{Request, Response, Status};

use crate::fake::{Answers, ago, answers};
use crate::images::{all, digest};

pub(crate) struct Storage;

#[tonic::async_trait]
impl storage_server::Storage for Storage {
    type VerifyStream = Answers<api::VerifyEvent>;

    async fn disk_usage(
        &self,
        request: Request<api::DiskUsageRequest>,
    ) -> Result<Response<api::DiskUsageResponse>, Status> {
        let class = |count, active_count, size_bytes, reclaimable_bytes| {
            Some(api::UsageClass { count, active_count, size_bytes, reclaimable_bytes })
        };
        let mut usage = api::DiskUsageResponse {
            images: class(3, 1, 125_396_801, 1_940_012),
            containers: class(1, 1, 4096, 0),
            build_cache: class(1, 0, 2_345_678, 2_345_678),
            ..Default::default()
        };
        if request.into_inner().verbose {
            let shown = |image| api::ImageUsage {
                image: Some(image),
                shared_bytes: 100,
                unique_bytes: 1000,
                containers: 1,
            };
            usage.image_usages = all().into_iter().map(shown).collect();
            usage.cache_usages = vec![api::CacheUsage {
                id: "abcdef0123456789".into(),
                description: "RUN make".into(),
                size_bytes: 2_345_678,
                created_at: ago(7_300),
                used_at: ago(90),
                in_use: false,
            }];
        }
        Ok(Response::new(usage))
    }

    async fn prune(
        &self,
        request: Request<api::PruneRequest>,
    ) -> Result<Response<api::PruneResponse>, Status> {
        let all = request.into_inner().all;
        Ok(Response::new(api::PruneResponse {
            untagged: if all { vec!["docker.io/library/hellodocker:latest".into()] } else { Vec::new() },
            deleted_images: vec![digest('c')],
            deleted_layers: vec!["17".into()],
            reclaimed_bytes: 12_345_678,
        }))
    }

    async fn verify(
        &self,
        request: Request<api::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let content = request.into_inner().content;
        let finding = api::Finding {
            invariant: "I3".into(),
            subject: "layer 17".into(),
            problem: "its tree does not give its diff ID".into(),
        };
        let done = api::VerifyDone { images: 3, layers: 7, blobs: 9, findings: content.into() };
        let events = content.then_some(Event::Finding(finding)).into_iter().chain([Event::Done(done)]);
        Ok(Response::new(answers(events.map(|event| Ok(api::VerifyEvent { event: Some(event) })).collect())))
    }
}
