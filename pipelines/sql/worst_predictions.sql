-- Which wrong predictions were the most confident?
SELECT image_id, kind, true_class_name, predicted_class_name, score, iou
FROM matches
WHERE kind <> 'match' AND score IS NOT NULL
ORDER BY score DESC, image_id, rank
LIMIT 30;
